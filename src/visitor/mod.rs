//! Who follows a link.
