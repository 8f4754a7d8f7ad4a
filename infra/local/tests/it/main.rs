//! The local stack as its clients see it, tested through the real AWS clients.

#[cfg(test)]
mod durability;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod event_source;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod queues;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod template;
