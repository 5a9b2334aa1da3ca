"""The run as a page: what stands on it (`report`), its HTML (`html`), and who keeps it up to date
while the run goes on (`keeper`). Everything comes from the run's folder."""
