//! Looks hard at what came back: pods, objects, volumes, and names that still mean production.
//!
//! The files that decide are pure and work on plain values; only [`startup`], [`inventory`], [`living`],
//! [`volumes`] and [`scan`] know the cluster.
//!
//! ```text
//! watches ─► seen ─► scene ─► desired + cause ─► state ─► PodFacts          (startup)
//! held owners, podStartup.ignore ─► exclude ─► what among them nobody waits for
//! provider's list, pods that nothing made ─► bare ─► what should be among them
//! lists, provider's list, quota ─► presence ─► KindFacts                    (inventory)
//! lists of the source namespace ─► plan's comparison ─► LivingFacts        (living)
//! claims, volume restores, backup's volumes ─► claims ─► VolumeFacts        (volumes)
//! templates, ConfigMaps, Services ─► hardcoded ─► HardcodedFact             (scan)
//! failing pods, their ConfigMaps, held endpoints ─► denied ─► DeniedFact     (ask)
//! ```

mod ask;
mod bare;
mod cause;
mod claims;
mod denied;
mod desired;
mod exclude;
mod hardcoded;
mod incidents;
mod inventory;
mod living;
mod pod;
mod presence;
mod refusal;
mod scan;
mod scene;
mod seen;
mod startup;
mod state;
mod stuck;
mod text;
mod volumes;

#[cfg(test)]
mod bare_tests;
#[cfg(test)]
mod cause_tests;
#[cfg(test)]
mod exclude_tests;
#[cfg(test)]
mod io_tests;
#[cfg(test)]
mod living_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod test_objects;
#[cfg(test)]
mod window_tests;

pub use ask::denied;
pub use bare::{BarePod, bare_pods};
pub use exclude::{Exclusions, LeftOut};
pub use inventory::{inventory, recheck};
pub use living::living;
pub(crate) use pod::{PodState, Warning, Warnings};
pub use presence::created_items;
pub use scan::hardcoded_names;
pub use startup::{EphemeralClaim, Startup, StartupOptions};
pub use state::{Blindness, Settled};
pub use stuck::{Obstacle, Stuck, Waiting};
pub use volumes::{ProviderVolumes, volumes};
