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

/// What goes down passes nothing older that holds its keys, and meets nothing where it comes to.
fn check(shape: &Shape, merge: &Merge) {
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
    let from_level_0 = taken.iter().filter(|(level, _)| *level == 0).count();
    let is_load = merge.is_move && from_level_0 > 0;
    assert!(
        from_level_0 == 0
            || is_load
            || shape
                .level_0
                .iter()
                .all(|run| run.tables.iter().all(|it| merge.tables.contains(&it.id)))
    );
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
                prop_assert!((1..LEVELS).all(|level| shape.bytes(level) <= dues.bytes[level]));
            }
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
    // As many as are too many there.
    assert_eq!(merge.tables, (200..210).collect());
    shape.levels[5][0].has_tombstones = true;
    let merge = ordinary(&shape, SIZES).unwrap();
    assert_eq!(
        merge.tables,
        (201..211).collect(),
        "deletions end where they are written"
    );
}

#[test]
fn what_goes_down_is_what_meets_least() {
    let mut shape = Shape::default();
    shape.levels[LAST_LEVEL] = (0..100)
        .map(|number| table(number, 10 * number as u16, 10 * number as u16 + 9, 100))
        .collect();
    // Wide ones, and a narrow one.
    shape.levels[5] = vec![
        table(200, 0, 400, 500),
        table(201, 401, 420, 100),
        table(202, 430, 990, 500),
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
