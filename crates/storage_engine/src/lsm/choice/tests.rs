use proptest::prelude::*;

use super::*;

const SIZES: Sizes = Sizes {
    level_0_runs: 4,
    table_bytes: 100,
};

fn key(number: u16) -> Slice {
    Slice::from(number.to_be_bytes())
}

fn table(id: TableId, from: u16, to: u16, bytes: u64) -> Outline {
    Outline {
        id,
        bytes,
        first: key(from),
        last: key(to),
        has_tombstones: false,
    }
}

fn meet(left: &Outline, right: &Outline) -> bool {
    left.first <= right.last && left.last >= right.first
}

fn run(tables: Vec<Outline>, kinds: Vec<(Slice, Slice)>) -> Flushed {
    Flushed { tables, kinds }
}

/// Makes tables of what a strategy gave: gap before, width and bytes of each.
fn level(ids: &mut u64, parts: &[(u16, u16, u64)]) -> Vec<Outline> {
    let mut at = 0;
    let mut tables = Vec::new();
    for (gap, width, bytes) in parts {
        *ids += 1;
        let from = at + gap;
        at = from + width;
        tables.push(table(*ids, from, at, *bytes));
        at += 1;
    }
    tables
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let part = (0_u16..300, 0_u16..300, 1_u64..150);
    let parts = prop::collection::vec(part, 0..40);
    let level_0 = prop::collection::vec(
        prop::collection::vec((0_u16..3000, 0_u16..3000, 1_u64..80), 1..2),
        0..9,
    );
    (level_0, prop::collection::vec(parts, LEVELS), any::<u8>()).prop_map(|(runs, levels, used)| {
        let mut ids = 0;
        let mut shape = Shape::default();
        for parts in &runs {
            shape.level_0.push(run(level(&mut ids, parts), Vec::new()));
        }
        for (number, parts) in levels.iter().enumerate().skip(1) {
            if used >> number & 1 == 1 {
                shape.levels[number] = level(&mut ids, parts);
            }
        }
        shape
    })
}

/// All tables with their levels.
fn placed(shape: &Shape) -> Vec<(usize, Outline)> {
    let level_0 = shape
        .level_0
        .iter()
        .flat_map(|run| run.tables.iter().map(|it| (0, it.clone())));
    let levels = shape.levels.iter().enumerate();
    let others =
        levels.flat_map(|(level, tables)| tables.iter().map(move |it| (level, it.clone())));
    level_0.chain(others).collect()
}

/// What goes down passes nothing older that holds its keys, and meets nothing where it comes to; of level 0, all goes.
fn check(shape: &Shape, merge: &Merge) {
    check_beside(shape, merge);
    let goes = |run: &Flushed| run.tables.iter().all(|it| merge.tables.contains(&it.id));
    let going = shape.level_0.iter().filter(|run| goes(run)).count();
    let is_load = merge.is_move;
    assert!(going == 0 || is_load || going == shape.level_0.len());
}

/// The same, but for newer runs that level 0 may have.
fn check_beside(shape: &Shape, merge: &Merge) {
    assert!(!merge.tables.is_empty() && merge.to > 0 && merge.depth > 0);
    let (taken, left): (Vec<_>, Vec<_>) = placed(shape)
        .into_iter()
        .partition(|(_, it)| merge.tables.contains(&it.id));
    assert_eq!(taken.len(), merge.tables.len());
    for (from, taken_table) in &taken {
        assert!(*from <= merge.to);
        for (level, stays) in &left {
            let is_passed = *level > *from && *level <= merge.to;
            assert!(
                !is_passed || !meet(taken_table, stays),
                "{taken_table:?} passes {stays:?}"
            );
        }
    }
    if merge.is_move {
        let meets = |left: &(usize, Outline), right: &(usize, Outline)| {
            left.1.id != right.1.id && meet(&left.1, &right.1)
        };
        assert!(
            !taken
                .iter()
                .any(|left| taken.iter().any(|right| meets(left, right)))
        );
    }
}

/// The shape afterwards: what meets becomes one table for each hundred bytes, side by side.
fn apply(shape: &Shape, merge: &Merge, ids: &mut u64) -> Shape {
    let mut next = shape.clone();
    let taken: Vec<Outline> = placed(shape)
        .into_iter()
        .map(|(_, it)| it)
        .filter(|it| merge.tables.contains(&it.id))
        .collect();
    next.level_0
        .retain(|run| !run.tables.iter().any(|it| merge.tables.contains(&it.id)));
    for tables in &mut next.levels {
        tables.retain(|it| !merge.tables.contains(&it.id));
    }
    let mut made: Vec<Outline> = Vec::new();
    let mut sorted = taken;
    sorted.sort_by(|left, right| left.first.cmp(&right.first));
    for it in sorted {
        match made.last_mut() {
            Some(before) if !merge.is_move && meet(before, &it) => {
                before.last = before.last.clone().max(it.last);
                before.bytes += it.bytes;
            }
            _ => {
                *ids += 1;
                made.push(Outline { id: *ids, ..it });
            }
        }
    }
    next.levels[merge.to].extend(made);
    next.levels[merge.to].sort_by(|left, right| left.first.cmp(&right.first));
    let tables = &next.levels[merge.to];
    assert!(tables.windows(2).all(|pair| pair[0].last < pair[1].first));
    next
}

proptest! {
    #[test]
    fn every_choice_keeps_the_order_of_versions_and_they_come_to_an_end(shape in any_shape()) {
        let mut ids = 1_000_000;
        for squeezed in [false, true] {
            let mut shape = shape.clone();
            let mut steps = 0;
            let choose = |shape: &Shape| match squeezed {
                false => ordinary(shape, SIZES),
                true => squeezing(shape, SIZES),
            };
            while let Some(merge) = choose(&shape) {
                check(&shape, &merge);
                shape = apply(&shape, &merge, &mut ids);
                steps += 1;
                prop_assert!(steps < 2_000, "no end");
            }
            if squeezed {
                prop_assert!(placed(&shape).iter().all(|(level, _)| *level == LAST_LEVEL));
            } else {
                let dues = Dues::of(&shape, SIZES);
                prop_assert!(shape.level_0.len() < SIZES.level_0_runs);
                prop_assert!(shape.upper_bytes() <= dues.upper);
                prop_assert!(shape.first_used(LOWEST).is_none_or(|first| first > CROWDED));
            }
        }
    }

    /// While a merge is under way, others of level 0 go between, and flushes too.
    #[test]
    fn what_lands_beside_a_merge_keeps_out_of_its_way(shape in any_shape(), flushed in prop::collection::vec(0_u16..9000, 0..60)) {
        let mut ids = 1_000_000;
        let mut shape = shape;
        let mut flushed = flushed.chunks(3);
        while let Some(merge) = ordinary(&shape, SIZES) {
            if !merge.is_move {
                for keys in flushed.by_ref() {
                    ids += 1;
                    let (first, last) = (keys.iter().min().unwrap(), keys.iter().max().unwrap());
                    shape.level_0.insert(0, run(vec![table(ids, *first, *last, 60)], Vec::new()));
                    if let Some(between) = beside(&shape, SIZES, &merge.tables) {
                        check(&shape, &between);
                        prop_assert!(between.tables.is_disjoint(&merge.tables));
                        shape = apply(&shape, &between, &mut ids);
                        break;
                    }
                }
            }
            // Still right, though others went between.
            check_beside(&shape, &merge);
            shape = apply(&shape, &merge, &mut ids);
        }
    }

    #[test]
    fn rewriting_passes_every_table_of_the_last_level_once(shape in any_shape()) {
        let mut from = Vec::new();
        let mut seen = Vec::new();
        while let Some(merge) = rewriting(&shape, &from, SIZES) {
            check(&shape, &merge);
            let last = shape.levels[LAST_LEVEL].iter().filter(|it| merge.tables.contains(&it.id)).map(|it| it.last.clone()).max();
            from = [&last.unwrap()[..], &[0]].concat();
            seen.extend(merge.tables);
        }
        let all: Vec<TableId> = shape.levels[LAST_LEVEL].iter().map(|it| it.id).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, all);
    }
}

/// New keys in order lie behind all others of their kind, or in the gap before the next kind.
#[test]
fn what_meets_nothing_is_moved() {
    let mut shape = Shape::default();
    shape.levels[LAST_LEVEL] = (0..100)
        .map(|number| table(number, 10 * number as u16, 10 * number as u16 + 9, 100))
        .collect();
    shape.levels[LAST_LEVEL][99].first = key(5000);
    shape.levels[LAST_LEVEL][99].last = key(6000);
    shape.levels[5] = (0..20_u64)
        .map(|number| {
            table(
                200 + number,
                1000 + 10 * number as u16,
                1009 + 10 * number as u16,
                100,
            )
        })
        .collect();
    let merge = ordinary(&shape, SIZES).unwrap();
    assert!(merge.is_move && merge.to == LAST_LEVEL, "{merge:?}");
    assert_eq!(merge.tables, (200..220).collect());
    shape.levels[5][0].has_tombstones = true;
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!(
        merge.tables,
        (201..220).collect(),
        "deletions end where they are written"
    );
}

#[test]
fn what_goes_down_is_what_meets_least() {
    let mut shape = Shape::default();
    shape.levels[LAST_LEVEL] = (0..100)
        .map(|number| table(number, 10 * number as u16, 10 * number as u16 + 9, 100))
        .collect();
    // Wide ones, and a narrow one; more than a third of the last level together.
    shape.levels[5] = vec![
        table(200, 0, 400, 1800),
        table(201, 401, 420, 100),
        table(202, 430, 990, 1800),
    ];
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!(merge.tables, [40, 41, 42, 201].into());
    assert!(!merge.is_move && merge.to == LAST_LEVEL);
}

#[test]
fn flushed_tables_take_along_only_what_their_own_kinds_meet() {
    let mut shape = Shape::default();
    shape.levels[LAST_LEVEL] = vec![
        table(1, 0, 10, 100),
        table(2, 500, 510, 100),
        table(3, 900, 910, 100),
    ];
    let known = vec![(key(5), key(5)), (key(905), key(920))];
    for number in 0..4 {
        shape
            .level_0
            .push(run(vec![table(10 + number, 5, 920, 50)], known.clone()));
    }
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!(merge.tables, [1, 3, 10, 11, 12, 13].into());
    for run in &mut shape.level_0 {
        run.kinds.clear();
    }
    let merge = ordinary(&shape, SIZES).unwrap();
    assert!(
        merge.tables.contains(&2),
        "nothing is known of what was flushed before the start"
    );
}

#[test]
fn a_snapshot_goes_to_the_last_level_as_it_is() {
    let mut shape = Shape::default();
    shape
        .level_0
        .push(run(vec![table(5, 3, 7, 10)], Vec::new()));
    shape.level_0.push(run(
        (0..4)
            .map(|number| table(number, 10 * number as u16, 10 * number as u16 + 9, 100))
            .collect(),
        Vec::new(),
    ));
    let merge = ordinary(&shape, SIZES).unwrap();
    assert!(merge.is_move);
    assert_eq!((merge.tables, merge.to), ((0..4).collect(), LAST_LEVEL));
}

/// A tree with so much in each level, all of it over all keys.
fn tree(bytes: [u64; LEVELS]) -> Shape {
    let mut shape = Shape::default();
    for (level, bytes) in bytes.into_iter().enumerate().skip(1) {
        let count = bytes.div_ceil(SIZES.table_bytes).max(1);
        let width = 9_000 / count;
        let outline = |number: u64| {
            let from = (number * width) as u16;
            let to = from + width as u16 - 1;
            table(1_000 * level as u64 + number, from, to, bytes / count)
        };
        if bytes > 0 {
            shape.levels[level] = (0..count).map(outline).collect();
        }
    }
    shape
}

fn flush(shape: &mut Shape, id: TableId, bytes: u64) {
    let flushed = run(vec![table(id, 3, 8_990, bytes)], Vec::new());
    shape.level_0.insert(0, flushed);
}

#[test]
fn what_is_flushed_lands_in_the_lowest_free_level_by_itself() {
    let mut shape = tree([0, 0, 0, 0, 300, 800, 9_000]);
    for id in 0..4 {
        flush(&mut shape, id, 50);
    }
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!((merge.tables, merge.to), ((0..4).collect(), 3));
    assert!(!merge.is_move);
}

#[test]
fn runs_of_like_size_are_merged_when_few_levels_are_free() {
    let mut shape = tree([0, 0, 100, 150, 600, 1_900, 9_000]);
    let levels = |shape: &Shape, merge: &Merge| -> Vec<usize> {
        let mut levels: Vec<usize> = placed(shape)
            .into_iter()
            .filter(|(_, it)| merge.tables.contains(&it.id))
            .map(|(level, _)| level)
            .collect();
        levels.dedup();
        levels
    };
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!((levels(&shape, &merge), merge.to), (vec![2, 3], 3));
    shape.levels[4].iter_mut().for_each(|it| it.bytes = 80);
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!((levels(&shape, &merge), merge.to), (vec![2, 3, 4], 4));
    // What is flushed meanwhile lands above them.
    for id in 0..4 {
        flush(&mut shape, id, 50);
    }
    let between = beside(&shape, SIZES, &merge.tables).unwrap();
    assert_eq!((between.tables.clone(), between.to), ((0..4).collect(), 1));
    assert_eq!(beside(&shape, SIZES, &between.tables), None);
}

#[test]
fn a_free_level_is_taken_by_the_run_above_it() {
    let shape = tree([0, 0, 100, 0, 300, 0, 9_000]);
    let merge = ordinary(&shape, SIZES).unwrap();
    let of_level_4 = shape.levels[4].iter().map(|it| it.id).collect();
    assert_eq!(
        (merge.tables, merge.to, merge.is_move),
        (of_level_4, 5, true)
    );
}

#[test]
fn the_fuller_the_upper_levels_the_more_it_presses() {
    let at = |bytes| urgency(&tree([0, 0, 0, 0, 0, bytes, 9_000]), SIZES);
    assert_eq!((at(2_900), at(4_500), at(9_000)), (0.0, 1.0, 1.0));
    assert!(at(3_300) > 0.1 && at(3_300) < at(4_000), "{}", at(3_300));
    // A small tree that was large has time.
    assert_eq!(urgency(&tree([0, 0, 0, 0, 0, 900, 100]), SIZES), 0.0);
}

/// Overwritten at random, in a steady state: what each flushed byte costs.
#[test]
fn a_byte_is_written_about_a_dozen_times() {
    let mut shape = tree([0, 0, 0, 0, 0, 0, 30_000]);
    let (mut ids, mut flushed, mut written, mut most) = (1_000_000, 0, 0, 0);
    // Until as much was flushed as there is, and then as much again.
    while flushed < 60_000 {
        ids += 1;
        flush(&mut shape, ids, 30);
        flushed += 30;
        while let Some(merge) = ordinary(&shape, SIZES) {
            check(&shape, &merge);
            let (next, bytes) = spread(&shape, &merge, &mut ids);
            shape = next;
            if flushed > 30_000 {
                written += bytes;
            }
        }
        most = most.max(shape.upper_bytes());
    }
    let amplification = written as f64 / 30_000.0;
    println!("{amplification:.1} times, at most {most} bytes above the last level");
    assert!(amplification < 14.0, "{amplification}");
    assert!(most < 30_000 * 2 / 5, "{most}");
}

/// The shape after a merge of levels of which each table holds keys at random between its first and last, and what was written. What
/// comes to the last level takes the place of what was there.
fn spread(shape: &Shape, merge: &Merge, ids: &mut u64) -> (Shape, u64) {
    if merge.is_move {
        return (apply(shape, merge, ids), 0);
    }
    let taken: Vec<(usize, Outline)> = placed(shape)
        .into_iter()
        .filter(|(_, it)| merge.tables.contains(&it.id))
        .collect();
    let counts = |level: usize| merge.to < LAST_LEVEL || level == LAST_LEVEL;
    let bytes: u64 = taken
        .iter()
        .filter(|(level, _)| counts(*level))
        .map(|(_, it)| it.bytes)
        .sum();
    let number = |key: &Slice| u64::from(u16::from_be_bytes([key[0], key[1]]));
    let first = taken.iter().map(|(_, it)| number(&it.first)).min().unwrap();
    let last = taken.iter().map(|(_, it)| number(&it.last)).max().unwrap();
    let mut next = shape.clone();
    next.level_0
        .retain(|run| !merge.tables.contains(&run.tables[0].id));
    for tables in &mut next.levels {
        tables.retain(|it| !merge.tables.contains(&it.id));
    }
    let count = bytes.div_ceil(SIZES.table_bytes).max(1);
    for part in 0..count {
        *ids += 1;
        let from = first + (last + 1 - first) * part / count;
        let to = first + (last + 1 - first) * (part + 1) / count - 1;
        let made = table(*ids, from as u16, to as u16, bytes / count);
        next.levels[merge.to].push(made);
    }
    next.levels[merge.to].sort_by(|left, right| left.first.cmp(&right.first));
    (next, bytes)
}
