"""For the person who runs it: what the machine is like, what a run did, where its time went."""
