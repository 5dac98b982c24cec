/**
 * Direct flows from an attribute with several values into one with one value. Entra Connect and MIM let them pass and
 * fail for the object that has several values; our checker refuses them. The expression written instead fails alike.
 */
import type { AttributeInfo, Flow, RuleContext, SyncRule } from "../core/rules.ts";
import type { EntraConnectOrigin, FlowOrigin } from "./exportedRule.ts";
import type { Finding } from "./findings.ts";

export function withSingleValues(
  rule: SyncRule,
  context: RuleContext,
  find: (finding: Finding) => void,
): SyncRule {
  const connector = context.connectorAttributes.get(rule.connector)?.get(rule.connectorObjectType);
  const metaverse = context.metaverseAttributes.get(rule.metaverseObjectType);
  const [sources, targets]: readonly (ReadonlyMap<string, AttributeInfo | null> | undefined)[] =
    rule.direction === "inbound" ? [connector, metaverse] : [metaverse, connector];
  const replaced: FlowOrigin[] = [];
  const counts = new Map<string, number>();
  const flows = rule.flows.map((flow): Flow => {
    const nth = counts.get(flow.target) ?? 0;
    counts.set(flow.target, nth + 1);
    if (flow.kind !== "direct" || !sources?.get(flow.source)?.multiValued) return flow;
    if (targets?.get(flow.target)?.multiValued !== false) return flow;
    const { source, target, applyOnce, mergeType } = flow;
    replaced.push({ target, ...(nth > 0 && { nth }), flowType: "Direct", sources: [source] });
    const several = `Error("${source} has several values.")`;
    const expression = `IIF(Count([${source}]) > 1, ${several}, ItemOrNull([${source}], 1))`;
    return { target, applyOnce, mergeType, kind: "expression", expression };
  });
  if (replaced.length === 0) return rule;
  find({
    kind: "remark",
    about: rule.name,
    message: `Direct flows from attributes with several values into ones with one (${replaced.map(({ target }) => target).join(", ")}) became expressions, which fail like these flows for an object that has several values.`,
  });
  const origin = rule.origin as Partial<EntraConnectOrigin> | undefined;
  if (origin?.product !== "Entra Connect") return { ...rule, flows };
  const isSame = (a: FlowOrigin, b: FlowOrigin) => a.target === b.target && a.nth === b.nth;
  const kept = origin.flows ?? [];
  return {
    ...rule,
    flows,
    origin: {
      ...origin,
      flows: [
        ...kept.filter((one) => !replaced.some((other) => isSame(one, other))),
        ...replaced.map((one) => ({ ...kept.find((other) => isSame(one, other)), ...one })),
      ],
    },
  };
}
