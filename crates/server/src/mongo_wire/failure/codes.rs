//! MongoDB's error names and numbers: the one table in this program.

macro_rules! codes {
    ($($name:ident = $number:literal,)*) => {
        /// An error that clients know by name and number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name,)*
            /// Known by number only.
            Location(i32),
        }

        impl Code {
            /// The code of this number.
            pub(crate) fn from_number(number: i32) -> Self {
                match number {
                    $($number => Code::$name,)*
                    other => Code::Location(other),
                }
            }

            pub(crate) fn number(self) -> i32 {
                match self {
                    $(Code::$name => $number,)*
                    Code::Location(number) => number,
                }
            }

            /// The `codeName` of a reply.
            pub(crate) fn name(self) -> std::borrow::Cow<'static, str> {
                match self {
                    $(Code::$name => stringify!($name).into(),)*
                    Code::Location(number) => format!("Location{number}").into(),
                }
            }
        }
    };
}

codes! {
    InternalError = 1,
    BadValue = 2,
    NoSuchKey = 4,
    GraphContainsCycle = 5,
    HostUnreachable = 6,
    HostNotFound = 7,
    UnknownError = 8,
    FailedToParse = 9,
    Unauthorized = 13,
    TypeMismatch = 14,
    Overflow = 15,
    InvalidLength = 16,
    AuthenticationFailed = 18,
    IllegalOperation = 20,
    InvalidBSON = 22,
    LockTimeout = 24,
    NamespaceNotFound = 26,
    IndexNotFound = 27,
    PathNotViable = 28,
    ConflictingUpdateOperators = 40,
    CursorNotFound = 43,
    NamespaceExists = 48,
    MaxTimeMSExpired = 50,
    DollarPrefixedFieldName = 52,
    InvalidIdField = 53,
    NotSingleValueField = 54,
    EmptyFieldName = 56,
    DottedFieldName = 57,
    CommandNotFound = 59,
    WriteConcernTimeout = 64,
    ImmutableField = 66,
    CannotCreateIndex = 67,
    InvalidOptions = 72,
    InvalidNamespace = 73,
    NodeNotFound = 74,
    UnknownReplWriteConcern = 79,
    IndexOptionsConflict = 85,
    IndexKeySpecsConflict = 86,
    NetworkTimeout = 89,
    ShutdownInProgress = 91,
    UnsatisfiableWriteConcern = 100,
    NewReplicaSetConfigurationIncompatible = 103,
    WriteConflict = 112,
    CommandNotSupported = 115,
    ConflictingOperationInProgress = 117,
    DocumentValidationFailure = 121,
    ReadConcernMajorityNotAvailableYet = 134,
    ViewDepthLimitExceeded = 165,
    CommandNotSupportedOnView = 166,
    OptionNotSupportedOnView = 167,
    InvalidPipelineOperator = 168,
    CannotIndexParallelArrays = 171,
    PrimarySteppedDown = 189,
    InvalidIndexSpecificationOption = 197,
    IncompleteTransactionHistory = 217,
    QueryFeatureNotAllowed = 224,
    TransactionTooOld = 225,
    CursorKilled = 237,
    SnapshotTooOld = 239,
    SnapshotUnavailable = 246,
    NoSuchTransaction = 251,
    OperationNotSupportedInTransaction = 263,
    ExceededTimeLimit = 262,
    TooManyLogicalSessions = 261,
    NoQueryExecutionPlans = 291,
    QueryExceededMemoryLimitNoDiskUseAllowed = 292,
    APIVersionError = 322,
    APIStrictError = 323,
    IngressRequestRateLimitExceeded = 462,
    SocketException = 9001,
    NotWritablePrimary = 10107,
    BSONObjectTooLarge = 10334,
    CursorInUse = 12051,
    DuplicateKey = 11000,
    InterruptedAtShutdown = 11600,
    Interrupted = 11601,
    InterruptedDueToReplStateChange = 11602,
    NotPrimaryNoSecondaryOk = 13435,
    NotPrimaryOrSecondary = 13436,
    OutOfDiskSpace = 14031,
    SearchNotEnabled = 31082,
    IDLUnknownField = 40415,
    IDLFailedToParse = 40414,
    IDLDuplicateField = 40413,
}

impl Code {
    /// Whether the error says that this member's state changed; such replies carry `topologyVersion`.
    pub(crate) fn is_state_change(self) -> bool {
        matches!(
            self,
            Code::NotWritablePrimary
                | Code::NotPrimaryNoSecondaryOk
                | Code::NotPrimaryOrSecondary
                | Code::PrimarySteppedDown
                | Code::InterruptedDueToReplStateChange
                | Code::ShutdownInProgress
                | Code::InterruptedAtShutdown
        )
    }

    /// Whether a write that failed so may be sent again under its `txnNumber` (drivers' retryable-writes specification).
    pub(crate) fn is_retryable_write(self) -> bool {
        matches!(
            self.number(),
            6 | 7
                | 89
                | 91
                | 134
                | 189
                | 262
                | 358
                | 402
                | 9001
                | 10107
                | 11600
                | 11602
                | 13435
                | 13436
        )
    }
}
