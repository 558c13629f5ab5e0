//! Sines and their kin, in radians. A decimal operand gives a decimal with a double's precision.

use super::logarithm::{in_type_of, single};
use super::operands::{fail, null, number};
use super::{Computed, Operands};

/// Where a function is defined, ends included.
struct Domain {
    from: f64,
    to: f64,
    shown: &'static str,
}

const EVERYWHERE: Domain = Domain {
    from: f64::NEG_INFINITY,
    to: f64::INFINITY,
    shown: "(-inf,inf)",
};
const FINITE: Domain = Domain {
    from: f64::MIN,
    to: f64::MAX,
    shown: "(-inf,inf)",
};
const UNIT: Domain = Domain {
    from: -1.0,
    to: 1.0,
    shown: "[-1,1]",
};
const FROM_ONE: Domain = Domain {
    from: 1.0,
    to: f64::INFINITY,
    shown: "[1,inf]",
};

fn apply(operands: &Operands<'_>, domain: &Domain, function: fn(f64) -> f64) -> Computed {
    let Some(value) = single(operands)? else {
        return null();
    };
    let double = value.as_double();
    if !double.is_nan() && !(domain.from..=domain.to).contains(&double) {
        return fail(
            50989,
            format!(
                "cannot apply {} to {}, value must be in {}",
                operands.name,
                operands.shown(0),
                domain.shown
            ),
        );
    }
    number(in_type_of(&[value], function(double)))
}

pub(super) fn sin(operands: &Operands<'_>) -> Computed {
    apply(operands, &FINITE, f64::sin)
}

pub(super) fn cos(operands: &Operands<'_>) -> Computed {
    apply(operands, &FINITE, f64::cos)
}

pub(super) fn tan(operands: &Operands<'_>) -> Computed {
    apply(operands, &FINITE, f64::tan)
}

pub(super) fn asin(operands: &Operands<'_>) -> Computed {
    apply(operands, &UNIT, f64::asin)
}

pub(super) fn acos(operands: &Operands<'_>) -> Computed {
    apply(operands, &UNIT, f64::acos)
}

pub(super) fn atan(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::atan)
}

pub(super) fn sinh(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::sinh)
}

pub(super) fn cosh(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::cosh)
}

pub(super) fn tanh(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::tanh)
}

pub(super) fn asinh(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::asinh)
}

pub(super) fn acosh(operands: &Operands<'_>) -> Computed {
    apply(operands, &FROM_ONE, f64::acosh)
}

pub(super) fn atanh(operands: &Operands<'_>) -> Computed {
    apply(operands, &UNIT, f64::atanh)
}

pub(super) fn degrees_to_radians(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::to_radians)
}

pub(super) fn radians_to_degrees(operands: &Operands<'_>) -> Computed {
    apply(operands, &EVERYWHERE, f64::to_degrees)
}

pub(super) fn atan2(operands: &Operands<'_>) -> Computed {
    if operands.any_nullish() {
        return null();
    }
    let (Some(y), Some(x)) = (operands.number(0), operands.number(1)) else {
        return fail(
            51044,
            format!(
                "$atan2 only supports numeric types, not {} and {}",
                operands.type_name(0),
                operands.type_name(1)
            ),
        );
    };
    number(in_type_of(&[y, x], y.as_double().atan2(x.as_double())))
}
