//! The signature layer, as peers and inner services meet it.

mod bodies; // of every shape
mod contract; // of tower
mod credentials; // in every form
mod headers; // judged before the body
mod support;
