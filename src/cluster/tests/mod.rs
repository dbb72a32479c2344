//! Tests against a scripted API server and, for downloads, a real socket.

mod downloads;
mod objects;
mod provider;
mod waits;
