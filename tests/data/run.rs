//! A whole run whose model, text and reviews come from the hub.
