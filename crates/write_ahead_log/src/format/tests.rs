use super::*;

const SEED: u64 = 7;

#[test]
fn headers_survive_and_fail_on_any_flipped_bit() {
    let segment = SegmentHeader {
        version: 1,
        sequence: SEED,
        first_batch: 42,
        log_id: 0,
    };
    let bytes = segment.encode();
    assert_eq!(SegmentHeader::decode(&bytes, SEED), Some(segment));
    assert_eq!(
        SegmentHeader::decode(&bytes, SEED + 1),
        None,
        "another file's header"
    );
    let seed = Seed::of(SEED);
    let batch = BatchHeader::of(seed, 9, 3, b"the body");
    let batch_bytes = batch.encode(seed);
    assert_eq!(BatchHeader::decode(&batch_bytes, seed), Some(batch));
    assert_eq!(
        BatchHeader::decode(&batch_bytes, Seed::of(SEED + 1)),
        None,
        "a recycled segment"
    );
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SegmentHeader::decode(&flipped, SEED), None, "bit {bit}");
    }
    for bit in 0..8 * batch_bytes.len() {
        let mut flipped = batch_bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(BatchHeader::decode(&flipped, seed), None, "bit {bit}");
    }
}

#[test]
fn records_carry_their_payload_compressed_when_it_pays() {
    let seed = Seed::of(SEED);
    let noise: Vec<u8> = (0..4000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for (payload, stored_max) in [
        (vec![], 0),
        (b"short".to_vec(), 5),
        (vec![b'x'; COMPRESS_BYTES_MIN - 1], COMPRESS_BYTES_MIN - 1),
        (vec![b'x'; 100_000], 1000),
        (noise, 4000),
    ] {
        let mut buffer = b"before".to_vec();
        let (head, rest) = payload.split_at(payload.len() / 3);
        append_record(&mut buffer, seed, (RecordKind::Entry, 5, 6), &[head, rest]);
        let (header, stored) = RecordHeader::decode(&buffer[6..], seed).unwrap();
        assert_eq!(
            (header.kind, header.group, header.index),
            (RecordKind::Entry, 5, 6)
        );
        assert_eq!(header.total_bytes(), buffer.len() - 6);
        assert!(
            stored.len() <= stored_max,
            "{} of {}",
            stored.len(),
            payload.len()
        );
        assert_eq!(header.payload(stored).unwrap(), payload);
        for bit in 0..8 * (buffer.len() - 6).min(300) {
            let mut flipped = buffer[6..].to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(&flipped, seed).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_resealed_record_belongs_to_its_new_segment_only() {
    let mut buffer = Vec::new();
    append_record(
        &mut buffer,
        Seed::of(1),
        (RecordKind::State, 1, 0),
        &[b"state"],
    );
    assert_eq!(reseal_record(Seed::of(2), &mut buffer), buffer.len());
    assert_eq!(
        RecordHeader::decode(&buffer, Seed::of(1)),
        Err(BadRecord::Checksum)
    );
    assert!(RecordHeader::decode(&buffer, Seed::of(2)).is_ok());
}

#[test]
fn intact_records_that_nobody_writes_are_refused() {
    let seed = Seed::of(1);
    for (kind, index) in [
        (RecordKind::Entry, 0),
        (RecordKind::Entry, u64::MAX),
        (RecordKind::Start, u64::MAX),
        (RecordKind::Reset, u64::MAX),
    ] {
        let mut buffer = Vec::new();
        append_record(&mut buffer, seed, (kind, 1, index), &[&[0; 8]]);
        assert_eq!(
            RecordHeader::decode(&buffer, seed),
            Err(BadRecord::Index(index))
        );
    }
    let mut buffer = Vec::new();
    append_record(
        &mut buffer,
        seed,
        (RecordKind::Entry, 1, 1),
        &[&[7; 4 << 10]],
    );
    buffer[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    reseal_record(seed, &mut buffer);
    let (header, stored) = RecordHeader::decode(&buffer, seed).unwrap();
    assert_eq!(header.payload(stored), Err(BadRecord::Compression));
}
