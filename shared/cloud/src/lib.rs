//! What is reached: every side effect behind one door each.
