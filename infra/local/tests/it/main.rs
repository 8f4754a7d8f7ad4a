//! The local stack as its clients see it, tested through the real AWS clients.

#[cfg(test)]
mod company;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod feeding;
#[cfg(test)]
mod house;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod queues;
#[cfg(test)]
mod tables;
