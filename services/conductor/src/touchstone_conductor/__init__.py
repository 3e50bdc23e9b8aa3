"""The conductor: applies reports, expires leases, hands out ready steps. Its own process."""
