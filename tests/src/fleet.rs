//! A fleet that is being served.

use std::collections::BTreeMap;
use std::io;

use crate::description::{DescriptionError, FleetDescription};
use crate::sns::Published;

/// A fleet that is being served on a free port of the loopback interface, until it is dropped.
pub struct Fleet {}

impl Fleet {
    /// Serves the fleet on a free port.
    pub fn serve(description: FleetDescription) -> io::Result<Self> {
        Self::serve_on(description, 0)
    }

    /// Serves the fleet on that port; 0 means a free one.
    pub fn serve_on(_description: FleetDescription, _port: u16) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        String::new()
    }

    /// The account and the Region that the fleet stands for.
    pub fn description(&self) -> FleetDescription {
        FleetDescription::default()
    }

    /// Serves another description from now on, with all its faults still to come. Counts and messages are kept.
    pub fn replace(&self, _description: FleetDescription) -> Result<(), DescriptionError> {
        Ok(())
    }

    /// HTTP requests by operation, every attempt counted, unknown operations included.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// The calls of an operation by the key that they named.
    pub fn calls_for(&self, _operation: &str) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Calls of the operation in its busiest second, whenever that began.
    pub fn peak_rate(&self, _operation: &str) -> u32 {
        0
    }

    /// Calls that no operation of the fleet answers, by what they asked for.
    pub fn unknown_calls(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Forgets all calls.
    pub fn clear_calls(&self) {}

    /// The messages that were published, in their order.
    pub fn published(&self) -> Vec<Published> {
        Vec::new()
    }

    /// Forgets all messages.
    pub fn clear_published(&self) {}
}

/// The id of the key at that index of a fleet, where its description names none.
pub fn generated_key_id(index: u32) -> String {
    format!("00000000-0000-4000-8000-{index:012}")
}
