"""What programs that load adapters do with them: facts from `schemas/consumers/` applied to one adapter."""
