//! Placeholder until the module's owner fills it.
