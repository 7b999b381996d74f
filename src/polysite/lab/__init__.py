"""Several sites on one machine, on engines that the project installs itself: where claims about engines are put to the clock."""
