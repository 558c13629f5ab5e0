//! The four messages of etcd's `rpc.proto` that the comparison needs, encoded and decoded by hand.
//!
//! Field numbers: PutRequest key=1 value=2; RangeRequest key=1 (serializable=7 left out, so false: linearizable);
//! RangeResponse kvs=2; KeyValue key=1 value=5; StatusResponse header=1 version=2 leader=4; ResponseHeader member_id=2.

const LENGTH_DELIMITED: u64 = 2;

/// Appends a PutRequest.
pub(crate) fn put_request(buffer: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    bytes_field(buffer, 1, key);
    bytes_field(buffer, 2, value);
}

/// Appends a linearizable RangeRequest for one key.
pub(crate) fn range_request(buffer: &mut Vec<u8>, key: &[u8]) {
    bytes_field(buffer, 1, key);
}

/// Whether a RangeResponse holds exactly the one pair asked for.
pub(crate) fn holds_pair(response: &[u8], key: &[u8], value_bytes: usize) -> bool {
    let mut pairs = Fields(response).filter(|field| field.number == 2);
    let (Some(pair), None) = (pairs.next(), pairs.next()) else {
        return false;
    };
    let mut key_matches = false;
    let mut value_matches = false;
    for field in Fields(pair.bytes()) {
        key_matches |= field.number == 1 && field.bytes() == key;
        value_matches |= field.number == 5 && field.bytes().len() == value_bytes;
    }
    key_matches && value_matches
}

/// What a member says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub member_id: u64,
    /// Zero, in etcd's terms, while there is none.
    pub leader_id: u64,
    pub version: String,
}

impl Status {
    pub(crate) fn leads(&self) -> bool {
        self.leader_id != 0 && self.leader_id == self.member_id
    }

    pub(crate) fn decode(response: &[u8]) -> Self {
        let mut status = Status::default();
        for field in Fields(response) {
            match (field.number, &field.value) {
                (1, Value::Bytes(header)) => {
                    for field in Fields(header) {
                        if let (2, Value::Number(id)) = (field.number, field.value) {
                            status.member_id = id;
                        }
                    }
                }
                (2, Value::Bytes(version)) => {
                    status.version = String::from_utf8_lossy(version).into_owned();
                }
                (4, Value::Number(id)) => status.leader_id = *id,
                _ => {}
            }
        }
        status
    }
}

fn bytes_field(buffer: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(buffer, number << 3 | LENGTH_DELIMITED);
    varint(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

pub(super) fn varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub number: u64,
    pub value: Value<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self.value {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => &[],
        }
    }
}

/// The fields of a message, up to the first malformed one.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let tag = self.take_varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.take_varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.take_varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some(Field {
            number: tag >> 3,
            value,
        })
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn take_varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else { return None };
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
