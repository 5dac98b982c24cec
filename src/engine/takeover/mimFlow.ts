/** One flow of a MIM synchronisation rule: `<import-flow>` and `<export-flow>`, as policy.xml and the engine hold them. */
import type { Flow } from "../core/rules.ts";
import type { Place } from "./findings.ts";
import { translateMim, unlessNull } from "./mimExpression.ts";
import { attributeOf, childNamed, childrenNamed, printXml, textOf, type XmlElement } from "./xml.ts";

/** Asks and remarks go to the rule that the flow becomes part of. */
export interface FlowNotes {
  ask(message: string, place: Place): void;
  remark(message: string, place: Place): void;
}

/** What a flow takes its value from, before the direction and "Allow nulls" are known. */
export type MimSource =
  | { readonly kind: "direct"; readonly attribute: string }
  | { readonly kind: "constant"; readonly text: string }
  /** An expression of ours. */
  | { readonly kind: "expression"; readonly expression: string }
  | { readonly kind: "extension"; readonly flowRuleName: string }
  /** The element `<fn>`. */
  | { readonly kind: "function"; readonly element: XmlElement };

export interface FlowOptions {
  readonly target: string;
  readonly initialOnly: boolean;
  /** False: a result of NULL leaves the target as it is. Only for outbound flows. */
  readonly allowsNull: boolean;
}

/** Attributes that hold passwords: a constant for one is a secret, and stays out of files and messages. */
const passwordAttributes = new Set(["unicodepwd", "userpassword", "password", "export_password"]);

export function isSecret(target: string): boolean {
  return passwordAttributes.has(target.toLowerCase());
}

/** @param flow `<import-flow>` or `<export-flow>`; undefined when it cannot become a flow here, which the notes say */
export function readFlow(flow: XmlElement, initialOnly: boolean, notes: FlowNotes): Flow | undefined {
  const target = textOf(flow, "dest")?.trim() ?? "";
  if ((childNamed(flow, "scoping")?.children.length ?? 0) > 0)
    notes.ask(`The flow into "${target}" has a scope of its own, which was left out.`, flow.place);
  const source = childNamed(flow, "src");
  const attributes = childrenNamed(source, "attr")
    .map(({ text }) => text.trim())
    .filter((name) => name !== "");
  const element = childNamed(flow, "fn");
  const mimSource: MimSource =
    element !== undefined
      ? { kind: "function", element }
      : attributes.length > 0
        ? { kind: "direct", attribute: attributes[0]! }
        : { kind: "constant", text: source?.text ?? "" };
  const allowsNull = flow.name !== "export-flow" || attributeOf(flow, "allows-null") !== "false";
  return toFlow(mimSource, { target, initialOnly, allowsNull }, flow.place, notes);
}

export function toFlow(
  source: MimSource,
  { target, initialOnly, allowsNull }: FlowOptions,
  place: Place,
  notes: FlowNotes,
): Flow | undefined {
  if (isSecret(target)) {
    notes.remark(
      `The flow into "${target}" was left out: passwords do not belong into rules. The AD connector gives new accounts a password that nobody knows.`,
      place,
    );
    return undefined;
  }
  const base = { target, applyOnce: initialOnly, mergeType: "update" } as const;
  // When an object is created there is nothing that NULL could leave as it is.
  const guarded = (expression: string): Flow => ({
    ...base,
    kind: "expression",
    expression: allowsNull || initialOnly ? expression : unlessNull(expression),
  });
  if (source.kind === "constant") return { ...base, kind: "constant", value: source.text };
  if (source.kind === "extension") return { ...base, kind: "extension", flowRuleName: source.flowRuleName };
  if (source.kind === "expression") return guarded(source.expression);
  if (source.kind === "direct")
    return allowsNull || initialOnly
      ? { ...base, kind: "direct", source: source.attribute }
      : guarded(`[${source.attribute}]`);
  const translation = translateMim(printXml(source.element));
  if (!translation.ok) {
    notes.ask(
      `The expression for "${target}" cannot be taken over, so the flow is missing: ${translation.message}`,
      source.element.place,
    );
    return undefined;
  }
  for (const remark of translation.remarks)
    notes.remark(`The expression for "${target}": ${remark}`, source.element.place);
  return guarded(translation.expression);
}

/** The flow as it stood in the export, for `origin`; null for one that holds a secret. */
export function flowText(flow: XmlElement, target: string): string | null {
  return isSecret(target) ? null : printXml(flow);
}
