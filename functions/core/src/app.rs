//! What every use case is handed: names, clients, time, randomness.

use std::sync::Arc;

use aws_config::SdkConfig;

use crate::aws::keys::PeriodKeys;
use crate::aws::{self, Clients};
use crate::clock::Clock;
use crate::config::Config;
use crate::egress::Egress;
use crate::error::Result;
use crate::random::Random;
use crate::rate::Rate;

/// One process's view of the deployment.
pub struct App {
    /// The names of what the deployment owns.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// Ids, tokens, codes.
    pub random: Random,
    pub(crate) aws: Clients,
    pub(crate) period_keys: PeriodKeys,
    pub(crate) egress: Egress,
    pub(crate) rate: Rate,
}

impl App {
    /// The application of a Lambda function: its environment, AWS, the machine's clock.
    ///
    /// # Errors
    /// Internal, naming what the environment lacks.
    pub async fn from_env() -> Result<Arc<Self>> {
        let config = Config::from_env()?;
        Ok(Self::new(
            config,
            &aws::sdk_config().await,
            Clock::system(),
            Random::system(),
        ))
    }

    /// An application on these names, this AWS, this clock and this source of randomness.
    #[must_use]
    pub fn new(config: Config, sdk: &SdkConfig, clock: Clock, random: Random) -> Arc<Self> {
        let egress = Egress::new(config.domain_facts);
        Arc::new(Self {
            egress,
            config,
            clock,
            random,
            aws: Clients::new(sdk),
            period_keys: PeriodKeys::default(),
            rate: Rate::default(),
        })
    }
}
