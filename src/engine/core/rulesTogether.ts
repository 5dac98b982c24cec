/** What is wrong with rules only when they stand side by side: names, joins, precedence, merge types. */
import type { Flow, RuleProblem, SyncRule } from "./rules.ts";
import { canBothHold } from "./scope.ts";

/** Adds to `problems` what is wrong with rules beside each other. */
export function checkTogether(rules: readonly SyncRule[], problems: RuleProblem[]): void {
  const names = new Map<string, SyncRule>();
  for (const rule of rules) {
    if (names.has(rule.name))
      problems.push({
        rule: rule.name,
        path: ["name"],
        code: "duplicate-rule",
        message: `Another rule is called "${rule.name}" too.`,
        remedy: "Give each rule a name of its own.",
        severity: "error",
      });
    names.set(rule.name, rule);
  }
  checkJoins(rules, problems);
  const first = new Map<string, { rule: SyncRule; flow: Flow }>();
  const byTarget = new Map<string, { rule: SyncRule; flow: Flow }>();
  for (const rule of rules.filter(({ enabled }) => enabled)) {
    rule.flows.forEach((flow, index) => {
      const place =
        rule.direction === "inbound"
          ? ["inbound", rule.metaverseObjectType, flow.target]
          : ["outbound", rule.connector, rule.connectorObjectType, flow.target];
      const path = ["flows", index, "target"];
      const other = first.get(JSON.stringify(place));
      if (other === undefined) first.set(JSON.stringify(place), { rule, flow });
      else if (other.flow.mergeType !== flow.mergeType)
        problems.push({
          rule: rule.name,
          path,
          code: "merge-types-differ",
          message: `"${flow.target}" is flowed with mergeType ${flow.mergeType} here and ${other.flow.mergeType} in rule ${other.rule.name}.`,
          remedy: "Use the same mergeType in all rules that flow this attribute.",
          severity: "error",
        });
      const key = JSON.stringify([...place, rule.precedence]);
      const rival = byTarget.get(key);
      if (rival !== undefined && flow.mergeType === "update" && rival.flow.applyOnce === flow.applyOnce)
        problems.push({
          rule: rule.name,
          path: rival.rule === rule ? path : ["precedence"],
          code: "ambiguous-precedence",
          message:
            rival.rule === rule
              ? `"${flow.target}" has two flows in this rule.`
              : `Precedence ${rule.precedence} is also that of rule ${rival.rule.name}, and both flow "${flow.target}".`,
          remedy: rival.rule === rule ? "Keep one of them." : "Give the rules different precedences.",
          severity: "error",
        });
      byTarget.set(key, { rule, flow });
    });
  }
}

/**
 * Only one rule with a join may be in scope for an object: when it happens, that object has an error (SEMANTICS R6).
 * Told where the scopes do not exclude each other by their words; the values may still never meet.
 */
function checkJoins(rules: readonly SyncRule[], problems: RuleProblem[]): void {
  const joining = rules.filter(({ enabled, join }) => enabled && join.length > 0);
  joining.forEach((rule, index) => {
    const rival = joining
      .slice(0, index)
      .find(
        (other) =>
          other.direction === rule.direction &&
          other.connector === rule.connector &&
          other.connectorObjectType === rule.connectorObjectType &&
          (rule.direction === "inbound" || other.metaverseObjectType === rule.metaverseObjectType) &&
          canBothHold(other.scope, rule.scope),
      );
    if (rival === undefined) return;
    const always = rival.scope.length === 0 && rule.scope.length === 0;
    problems.push({
      rule: rule.name,
      path: ["join"],
      code: "several-join-rules",
      message: `${always ? "Every" : "An"} object in the scope of this rule ${always ? "is" : "may be"} in that of rule ${rival.name} too, and both join: that is the object's error.`,
      remedy: "Make their scopes exclude each other, or put the join groups into one rule.",
      severity: "warning",
    });
  });
}
