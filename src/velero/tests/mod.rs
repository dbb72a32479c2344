//! Tests with the texts real servers wrote.

mod files;
mod objects;
mod results;

use std::collections::BTreeSet;
use std::io::{self, Read};

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A document too long to be held: `head`, then `count` times `unit`, then `tail`.
struct Repeated {
    head: &'static [u8],
    unit: Vec<u8>,
    count: usize,
    tail: &'static [u8],
    position: usize,
}

impl Repeated {
    fn new(head: &'static str, unit: &str, count: usize, tail: &'static str) -> Self {
        Self {
            head: head.as_bytes(),
            unit: unit.as_bytes().to_vec(),
            count,
            tail: tail.as_bytes(),
            position: 0,
        }
    }
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let middle = self.head.len() + self.unit.len() * self.count;
        let rest = if self.position < self.head.len() {
            &self.head[self.position..]
        } else if self.position < middle {
            &self.unit[(self.position - self.head.len()) % self.unit.len()..]
        } else {
            &self.tail[self.position - middle..]
        };
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        self.position += read;
        Ok(read)
    }
}

/// The most memory this process ever had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
