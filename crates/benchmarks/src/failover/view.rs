//! What the driver believes of the members. It asks one it could not reach again only every ten seconds unless an operation
//! looks for a server, so a member that was just started again is none to it for a while: a fault at such a moment would
//! measure the driver's patience.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, ServerType};

const PATIENCE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(20);

/// Members by address.
#[derive(Clone, Default)]
pub(crate) struct View {
    members: Arc<Mutex<BTreeMap<String, ServerType>>>,
}

impl View {
    /// A driver with default settings on the cluster at `uri`, and what it comes to believe.
    pub(crate) async fn client(uri: &str) -> mongodb::error::Result<(Client, View)> {
        let view = View::default();
        let members = view.members.clone();
        let mut options = ClientOptions::parse(uri).await?;
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::ServerDescriptionChanged(changed) = event {
                let address = changed.address.to_string();
                let kind = changed.new_description.server_type();
                members
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(address, kind);
            }
        }));
        Ok((Client::with_options(options)?, view))
    }

    /// Waits until the driver knows a primary and all others as secondaries.
    pub(crate) async fn wait_until_whole(&self, members: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.is_whole(members) {
                return true;
            }
            tokio::time::sleep(PERIOD).await;
        }
        false
    }

    fn is_whole(&self, members: usize) -> bool {
        let known = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |kind| known.values().filter(|known| **known == kind).count();
        count(ServerType::RsPrimary) == 1 && count(ServerType::RsSecondary) == members - 1
    }
}
