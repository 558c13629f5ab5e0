//! OP_COMPRESSED: snappy, the one algorithm offered. Expanded messages are bounded like plain ones.

use super::frame::{self, Compressed, FrameError, HEADER_BYTES, Header};

/// The names a client may ask for, and that `hello` answers with.
pub(crate) const OFFERED: &[&str] = &["snappy"];
const SNAPPY_ID: u8 = 1;

/// Expands `message` into `expanded` as the plain message it stands for, header included.
pub(crate) fn expand(
    header: Header,
    message: &[u8],
    expanded: &mut Vec<u8>,
) -> Result<Header, FrameError> {
    let shell: Compressed<'_> = frame::parse_compressed(message)?;
    if shell.compressor != SNAPPY_ID {
        return Err(FrameError::Compressor(shell.compressor));
    }
    let named = snap::raw::decompress_len(shell.data).map_err(|_| FrameError::Compressed)?;
    if named != shell.original_bytes {
        return Err(FrameError::Compressed);
    }
    let length = HEADER_BYTES + shell.original_bytes;
    expanded.clear();
    frame::write_header(
        expanded,
        length,
        header.request_id,
        0,
        shell.original_opcode,
    );
    expanded.resize(length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(shell.data, &mut expanded[HEADER_BYTES..])
        .map_err(|_| FrameError::Compressed)?;
    if written != shell.original_bytes {
        return Err(FrameError::Compressed);
    }
    Header::parse(expanded)
}

/// Appends `message`, a plain OP_MSG with its header, compressed.
pub(crate) fn compress(out: &mut Vec<u8>, message: &[u8], request_id: i32, response_to: i32) {
    let content = &message[HEADER_BYTES..];
    let data = match snap::raw::Encoder::new().compress_vec(content) {
        Ok(data) => data,
        Err(_) => {
            out.extend_from_slice(message);
            return;
        }
    };
    let original = i32::try_from(content.len()).expect("replies are bounded far below 2 GiB");
    let length = HEADER_BYTES + 9 + data.len();
    frame::write_header(out, length, request_id, response_to, frame::OP_COMPRESSED);
    out.extend_from_slice(&frame::OP_MSG.to_le_bytes());
    out.extend_from_slice(&original.to_le_bytes());
    out.push(SNAPPY_ID);
    out.extend_from_slice(&data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_message_expands_to_itself() {
        let body = b"\x0f\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\x00";
        let mut plain = Vec::new();
        frame::write_message(&mut plain, 5, 0, 0, body);
        let mut compressed = Vec::new();
        compress(&mut compressed, &plain, 5, 0);
        let header = Header::parse(&compressed).expect("sound header");
        let mut expanded = Vec::new();
        let inner = expand(header, &compressed, &mut expanded).expect("sound data");
        assert_eq!(inner.opcode, frame::OP_MSG);
        assert_eq!(expanded, plain);
    }

    #[test]
    fn data_that_expands_to_another_size_is_refused() {
        let mut bytes = Vec::new();
        let data = snap::raw::Encoder::new()
            .compress_vec(&[0; 100])
            .expect("compresses");
        frame::write_header(
            &mut bytes,
            HEADER_BYTES + 9 + data.len(),
            1,
            0,
            frame::OP_COMPRESSED,
        );
        bytes.extend_from_slice(&frame::OP_MSG.to_le_bytes());
        bytes.extend_from_slice(&99i32.to_le_bytes());
        bytes.push(SNAPPY_ID);
        bytes.extend_from_slice(&data);
        let header = Header::parse(&bytes).expect("sound header");
        assert_eq!(
            expand(header, &bytes, &mut Vec::new()),
            Err(FrameError::Compressed)
        );
    }
}
