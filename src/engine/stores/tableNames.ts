/** Every table of the product; the infrastructure creates none, they are created when first used. */
export const tableNames = {
  connectorSpace: "connectorspace",
  connectorSpaceIndex: "csindex",
  metaverse: "metaverse",
  metaverseIndex: "mvindex",
  runs: "runs",
  checkpoints: "checkpoints",
  history: "history",
  connectorState: "watermarks",
  imports: "imports",
  plans: "plans",
  rules: "rules",
  schedule: "schedule",
  audit: "audit",
  diffs: "diffs",
  holds: "holds",
  objectHistory: "objecthistory",
} as const;
