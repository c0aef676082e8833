//! Conversion of Kubernetes and projectcalico.org/v3 objects to the model.
