//! Attributes for trusted applications.
