"""RecBole behind one interface: engines, its compatibility shims, random generators."""
