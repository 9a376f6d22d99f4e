"""Training: the loop with its selection and resumption, and the treatments of a training."""
