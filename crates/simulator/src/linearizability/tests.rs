use super::*;
use crate::random::Random;

type RegisterOperation = Operation<RegisterCall, RegisterReturn>;

fn operation<C, R>(
    client: u32,
    invoked: u64,
    returned: u64,
    call: C,
    answer: R,
) -> Operation<C, R> {
    Operation {
        client,
        invoked,
        returned,
        call,
        outcome: Outcome::Done(answer),
    }
}

fn unknown<C, R>(client: u32, invoked: u64, call: C) -> Operation<C, R> {
    Operation {
        client,
        invoked,
        returned: invoked + 1,
        call,
        outcome: Outcome::Unknown,
    }
}

fn write(client: u32, invoked: u64, returned: u64, value: i64) -> RegisterOperation {
    operation(
        client,
        invoked,
        returned,
        RegisterCall::Write(value),
        RegisterReturn::Written,
    )
}

fn read(client: u32, invoked: u64, returned: u64, value: Option<i64>) -> RegisterOperation {
    let answer = RegisterReturn::Value(value);
    operation(client, invoked, returned, RegisterCall::Read, answer)
}

fn swap(
    client: u32,
    invoked: u64,
    returned: u64,
    (expected, new): (Option<i64>, i64),
    swapped: bool,
) -> RegisterOperation {
    let call = RegisterCall::CompareAndSet { expected, new };
    let answer = RegisterReturn::Swapped(swapped);
    operation(client, invoked, returned, call, answer)
}

fn accepts(operations: &[RegisterOperation]) -> bool {
    match check(&Register, operations) {
        Ok(()) => true,
        Err(Finding::Violation(_)) => false,
        Err(Finding::Undecided(text)) => panic!("{text}"),
    }
}

#[test]
fn a_read_that_overlaps_a_write_may_see_either_value() {
    let before = write(1, 0, 1, 1);
    let overlapped = write(1, 2, 9, 2);
    for value in [1, 2] {
        let seen = read(2, 3, 4, Some(value));
        assert!(accepts(&[before.clone(), overlapped.clone(), seen]));
    }
    assert!(!accepts(&[before, overlapped, read(2, 3, 4, Some(3))]));
}

#[test]
fn a_value_once_seen_does_not_go_back() {
    let writes = [write(1, 0, 1, 1), write(1, 2, 9, 2)];
    let stale = [read(2, 3, 4, Some(2)), read(3, 5, 6, Some(1))];
    assert!(!accepts(&[&writes[..], &stale].concat()));
    let fresh = [read(2, 3, 4, Some(1)), read(3, 5, 6, Some(2))];
    assert!(accepts(&[&writes[..], &fresh].concat()));
}

#[test]
fn a_stale_read_after_an_acknowledged_write_is_found() {
    assert!(!accepts(&[write(1, 0, 1, 1), read(2, 2, 3, None)]));
    assert!(
        accepts(&[write(1, 0, 2, 1), read(2, 2, 3, None)]),
        "equal times overlap"
    );
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    let lost = unknown(1, 0, RegisterCall::Write(7));
    assert!(accepts(&[lost.clone(), read(2, 5, 6, None)]));
    let late = [
        lost,
        read(2, 5, 6, None),
        write(2, 7, 8, 1),
        read(2, 9, 10, Some(7)),
    ];
    assert!(accepts(&late));
    let twice = [&late[..], &[write(2, 11, 12, 2), read(2, 13, 14, Some(7))]].concat();
    assert!(!accepts(&twice), "but it takes effect once");
}

#[test]
fn an_unknown_write_takes_no_effect_before_it_was_sent() {
    let early = [
        read(2, 0, 1, Some(7)),
        unknown(1, 2, RegisterCall::Write(7)),
    ];
    assert!(!accepts(&early));
}

#[test]
fn a_failed_operation_has_no_effect() {
    let failed = Operation {
        outcome: Outcome::Failed,
        ..write(1, 0, 1, 7)
    };
    assert!(!accepts(&[failed.clone(), read(2, 0, 1, Some(7))]));
    assert!(accepts(&[failed, read(2, 0, 1, None)]));
}

#[test]
fn a_write_of_the_value_that_is_there_may_be_needed_later() {
    let operations = [
        unknown(1, 0, RegisterCall::Write(0)),
        swap(2, 0, 1, (None, 5), false),
        write(3, 1, 9, 2),
        write(4, 1, 9, 0),
        read(5, 10, 11, Some(0)),
    ];
    assert!(accepts(&operations));
}

#[test]
fn of_two_equal_compare_and_sets_one_wins() {
    let first = swap(1, 0, 5, (None, 1), true);
    assert!(accepts(&[first.clone(), swap(2, 0, 5, (None, 2), false)]));
    assert!(!accepts(&[first, swap(2, 0, 5, (None, 2), true)]));
}

#[test]
fn an_increment_that_happened_twice_is_found() {
    let add = |invoked| {
        operation(
            1,
            invoked,
            invoked + 1,
            CounterCall::Add(1),
            CounterReturn::Added,
        )
    };
    let sum = |value| operation(2, 10, 11, CounterCall::Read, CounterReturn::Value(value));
    assert!(check(&Counter, &[add(0), add(2), sum(2)]).is_ok());
    assert!(check(&Counter, &[add(0), add(2), sum(3)]).is_err());
    assert!(
        check(
            &Counter,
            &[add(0), unknown(3, 0, CounterCall::Add(1)), sum(2)]
        )
        .is_ok()
    );
}

#[test]
fn many_equal_unknown_increments_do_not_explode() {
    let mut operations: Vec<_> = (0..60)
        .map(|client| unknown(client, 0, CounterCall::Add(1)))
        .collect();
    let read = |at, value| {
        operation(
            99,
            at,
            at + 1,
            CounterCall::Read,
            CounterReturn::Value(value),
        )
    };
    operations.extend((0..30).map(|at| read(10 + 2 * at, at as i64 * 2)));
    assert!(check(&Counter, &operations).is_ok());
    operations.push(read(200, 10));
    let finding = check(&Counter, &operations).unwrap_err();
    assert!(matches!(finding, Finding::Violation(_)), "{finding}");
}

#[test]
fn two_owners_of_a_unique_key_are_found() {
    let insert = |client, at, answer| {
        let call = UniqueKeyCall::Insert(i64::from(client));
        operation(client, at, at + 5, call, answer)
    };
    let (inserted, duplicate) = (UniqueKeyReturn::Inserted, UniqueKeyReturn::Duplicate);
    let one = [
        insert(1, 0, inserted.clone()),
        insert(2, 1, duplicate.clone()),
    ];
    assert!(check(&UniqueKey, &one).is_ok());
    let two = [insert(1, 0, inserted.clone()), insert(2, 1, inserted)];
    assert!(check(&UniqueKey, &two).is_err());
    assert!(check(&UniqueKey, &[insert(2, 0, duplicate)]).is_err());
}

#[test]
fn a_set_shows_what_was_added() {
    let add = |at, element| {
        let answer = GrowSetReturn::Added(true);
        operation(1, at, at + 1, GrowSetCall::Add(element), answer)
    };
    let read = |at, elements: &[i64]| {
        let answer = GrowSetReturn::Elements(elements.iter().copied().collect());
        operation(2, at, at + 1, GrowSetCall::Read, answer)
    };
    let good = [add(0, 1), add(2, 2), read(2, &[1]), read(4, &[1, 2])];
    assert!(check(&GrowSet, &good).is_ok());
    assert!(check(&GrowSet, &[add(0, 1), add(2, 2), read(4, &[2])]).is_err());
}

#[test]
fn a_finding_names_its_key_and_what_does_not_fit() {
    let mut history = History::default();
    history.push("good", write(1, 0, 1, 1));
    history.push("bad", write(1, 0, 1, 1));
    history.push("bad", read(2, 2, 3, None));
    let finding = check_history(&Register, &history).unwrap_err().to_string();
    assert!(finding.contains("key \"bad\""), "{finding}");
    assert!(
        finding.contains("client 2 2..3 -> Value(None): Read"),
        "{finding}"
    );
}

/// Tries every order: the definition itself.
fn by_brute_force<M: Model>(
    model: &M,
    state: &M::State,
    operations: &[&Operation<M::Call, M::Return>],
) -> bool {
    let answered = |it: &&&Operation<M::Call, M::Return>| is_answered(it);
    let Some(until) = operations
        .iter()
        .filter(answered)
        .map(|it| it.returned)
        .min()
    else {
        return true;
    };
    (0..operations.len()).any(|index| {
        let next = operations[index];
        let after = model.step(state, &next.call, answer(next));
        after.is_some_and(|after| {
            let mut rest = operations.to_vec();
            rest.remove(index);
            next.invoked <= until && by_brute_force(model, &after, &rest)
        })
    })
}

/// Histories with a few clients; most come from a real register, some answers are then changed.
fn random_history(random: &mut Random) -> Vec<RegisterOperation> {
    let mut operations = Vec::new();
    let mut state = None;
    let count = random.within(1..8);
    for number in 0..count {
        // The effect is somewhere in the middle, so the history is right until it is spoilt.
        let effect = number * 10;
        let invoked = effect.saturating_sub(random.below(25));
        let returned = effect + random.below(25);
        let call = match random.below(3) {
            0 => RegisterCall::Read,
            1 => RegisterCall::Write(random.below(3) as i64),
            _ => RegisterCall::CompareAndSet {
                expected: random.chance(1, 4).then_some(random.below(3) as i64),
                new: random.below(3) as i64,
            },
        };
        let happens = !random.chance(1, 6);
        let right = match &call {
            RegisterCall::Read => RegisterReturn::Value(state),
            RegisterCall::Write(_) => RegisterReturn::Written,
            RegisterCall::CompareAndSet { expected, .. } => {
                RegisterReturn::Swapped(state == *expected)
            }
        };
        if happens {
            state = Register.step(&state, &call, None).unwrap();
        }
        let outcome = match (happens, random.below(8)) {
            (false, _) | (true, 0) => Outcome::Unknown,
            (true, 1) => Outcome::Done(match right {
                RegisterReturn::Value(_) => RegisterReturn::Value(Some(random.below(3) as i64)),
                RegisterReturn::Swapped(it) => RegisterReturn::Swapped(!it),
                RegisterReturn::Written => right,
            }),
            _ => Outcome::Done(right),
        };
        operations.push(Operation {
            client: number as u32,
            invoked,
            returned,
            call,
            outcome,
        });
    }
    operations
}

#[test]
fn the_search_agrees_with_the_definition() {
    let mut random = Random::new(11);
    let mut verdicts = [0; 2];
    for round in 0..4_000 {
        let operations = random_history(&mut random);
        let all: Vec<_> = operations.iter().collect();
        let expected = by_brute_force(&Register, &Register.initial(), &all);
        let found = accepts(&operations);
        assert_eq!(found, expected, "round {round}: {operations:#?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 400), "{verdicts:?}");
}

/// A register under many overlapping clients, some of whose writes got no answer.
fn long_history(count: u64, random: &mut Random) -> Vec<RegisterOperation> {
    let mut operations = Vec::new();
    let mut state = None;
    for number in 0..count {
        let at = number * 10;
        let (invoked, returned) = (at.saturating_sub(random.below(60)), at + random.below(60));
        let call = match random.below(3) {
            0 => RegisterCall::Read,
            1 => RegisterCall::Write(number as i64),
            _ => RegisterCall::CompareAndSet {
                expected: state,
                new: number as i64,
            },
        };
        let lost = random.chance(1, 1_000);
        let happens = !lost || random.chance(1, 2);
        let answer = match &call {
            RegisterCall::Read => RegisterReturn::Value(state),
            RegisterCall::Write(_) => RegisterReturn::Written,
            RegisterCall::CompareAndSet { expected, .. } => {
                RegisterReturn::Swapped(state == *expected)
            }
        };
        if happens {
            state = Register.step(&state, &call, None).unwrap();
        }
        let outcome = if lost {
            Outcome::Unknown
        } else {
            Outcome::Done(answer)
        };
        operations.push(Operation {
            client: number as u32 % 12,
            invoked,
            returned,
            call,
            outcome,
        });
    }
    operations
}

#[test]
fn tens_of_thousands_of_operations_are_decided() {
    let mut random = Random::new(5);
    let mut operations = long_history(30_000, &mut random);
    assert!(accepts(&operations));
    operations.push(read(99, 200_000, 200_001, Some(-1)));
    assert!(!accepts(&operations));
}
