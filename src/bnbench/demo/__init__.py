"""The drawing window: a page that shows what trained networks say of a drawn digit."""
