"""`earmark-admin demo`: the story of one organization on real servers, with every figure checked."""
