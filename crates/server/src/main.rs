//! The `cstore` binary: hands the command line to the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    server::cli::main()
}
