//! The Kubernetes API, as the agent uses it.
