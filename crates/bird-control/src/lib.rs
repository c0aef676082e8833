//! The socket side of talking to BIRD: connect, ask, time-outs. What replies mean is in `tortie-bird`.
