//! Clean-up and sweep against an API server that keeps its objects in memory.

mod order;
mod store;
mod swept;
