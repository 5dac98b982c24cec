/**
 * The flows of MIM's synchronisation engine: `MV.XML` (imports) and `MA-*.XML` (joins, projection, exports). The
 * engine keeps them by attribute; here those of one connector, object type and direction become one rule again.
 */
import type { Direction, Flow, JoinGroup, SyncRule } from "../core/rules.ts";
import type { ExportedConnector } from "./connector.ts";
import { guid } from "./exportedRule.ts";
import type { Finding, Place } from "./findings.ts";
import type { ExportedMetaverse } from "./metaverse.ts";
import { type FlowNotes, flowText, type MimSource, toFlow } from "./mimFlow.ts";
import type { MimRules } from "./mimPolicy.ts";
import { attributeOf, childNamed, childrenNamed, localName, textOf, type XmlElement } from "./xml.ts";

/** Flows of one synchronisation rule, or of the classic rules of one connector and object type. */
interface FlowGroup {
  readonly key: string;
  readonly direction: Direction;
  readonly connector: string;
  readonly connectorObjectType: string;
  readonly metaverseObjectType: string;
  /** The synchronisation rule's identifier in the metaverse; null for classic flows. */
  readonly syncRule: string | null;
  readonly place: Place;
  readonly flows: Flow[];
  readonly join: JoinGroup[];
  readonly findings: Omit<Finding, "about">[];
  readonly originals: string[];
  projects: boolean;
  decided: boolean;
}

/**
 * @param connectorName our name for a connector's identifier
 * @param hasPolicy whether the rules of the MIM service are there themselves; their compiled copies are then passed over
 */
export function engineRules(
  metaverse: ExportedMetaverse | undefined,
  connectors: readonly ExportedConnector[],
  connectorName: (identifier: string) => string,
  hasPolicy: boolean,
): MimRules & { readonly passedOver: number } {
  const reader = new EngineReader(connectorName, hasPolicy);
  for (const connector of connectors) reader.readJoins(connector);
  if (metaverse !== undefined) reader.readImports(metaverse);
  for (const connector of connectors) reader.readExports(connector);
  return reader.rules(metaverse?.provisioning ?? null);
}

class EngineReader {
  readonly #connectorName: (identifier: string) => string;
  readonly #hasPolicy: boolean;
  readonly #groups = new Map<string, FlowGroup>();
  /** For each metaverse attribute, the groups that contribute to it, the strongest first. */
  readonly #rankings: {
    readonly attribute: string;
    readonly keys: readonly string[];
    readonly place: Place;
  }[] = [];
  readonly #findings: Finding[] = [];
  #passedOver = 0;

  constructor(connectorName: (identifier: string) => string, hasPolicy: boolean) {
    this.#connectorName = connectorName;
    this.#hasPolicy = hasPolicy;
  }

  readImports({ element }: ExportedMetaverse): void {
    for (const set of childrenNamed(childNamed(element, "import-attribute-flow"), "import-flow-set")) {
      const metaverseObjectType = attributeOf(set, "mv-object-type") ?? "";
      for (const attribute of childrenNamed(set, "import-flows"))
        this.#import(attribute, metaverseObjectType);
    }
  }

  #import(attribute: XmlElement, metaverseObjectType: string): void {
    const target = attributeOf(attribute, "mv-attribute") ?? "";
    const ranked: string[] = [];
    for (const flow of childrenNamed(attribute, "import-flow")) {
      const mapping = flow.children[0];
      if (mapping === undefined) continue;
      const connector = this.#connectorName(guid(attributeOf(flow, "src-ma") ?? ""));
      const connectorObjectType = attributeOf(flow, "cd-object-type") ?? "";
      const group = this.#group(
        "inbound",
        connector,
        connectorObjectType,
        metaverseObjectType,
        mapping,
        flow.place,
      );
      if (group === undefined) continue;
      ranked.push(group.key);
      this.#flow(group, flow, mapping, target, true);
    }
    const type = attributeOf(attribute, "type") ?? "ranked";
    if (ranked.length < 2) return;
    if (type !== "ranked") {
      const message =
        type === "equal"
          ? "several rules contribute with equal precedence, so the last change wins; here the rule with the lower precedence does."
          : "a rules extension decides which contribution counts (manual precedence); here the rule with the lower precedence does.";
      this.#findings.push({
        kind: "decision",
        about: metaverseObjectType,
        message: `"${target}": ${message}`,
        place: attribute.place,
      });
    } else
      this.#rankings.push({
        attribute: `${metaverseObjectType}.${target}`,
        keys: ranked,
        place: attribute.place,
      });
  }

  readJoins(connector: ExportedConnector): void {
    const name = this.#connectorName(connector.identifier);
    for (const mapping of childrenNamed(childNamed(connector.element, "projection"), "class-mapping")) {
      const type = attributeOf(mapping, "cd-object-type") ?? "";
      const metaverseType = textOf(mapping, "mv-object-type")?.trim() ?? "";
      if (attributeOf(mapping, "type") === "scripted") {
        this.#findings.push({
          kind: "decision",
          about: name,
          message: `A rules extension decides which objects of type ${type} are projected. Write the connector's entry point shouldProjectToMV.`,
          place: mapping.place,
        });
        continue;
      }
      const group = this.#group("inbound", name, type, metaverseType, mapping, mapping.place);
      if (group !== undefined) group.projects = true;
    }
    for (const profile of childrenNamed(childNamed(connector.element, "join"), "join-profile")) {
      const type = attributeOf(profile, "cd-object-type") ?? "";
      for (const criterion of childrenNamed(profile, "join-criterion"))
        this.#joinCriterion(name, type, criterion);
    }
  }

  #joinCriterion(connector: string, connectorObjectType: string, criterion: XmlElement): void {
    const search = childNamed(criterion, "search");
    const stated = search === undefined ? undefined : attributeOf(search, "mv-object-type");
    // Without a type MIM searches all of them; the type that this class projects to, or person, is the likely one.
    const projected = [...this.#groups.values()].find(
      (group) =>
        group.connector === connector && group.connectorObjectType === connectorObjectType && group.projects,
    );
    const metaverseObjectType = stated ?? projected?.metaverseObjectType ?? "person";
    const group = this.#group(
      "inbound",
      connector,
      connectorObjectType,
      metaverseObjectType,
      criterion,
      criterion.place,
    );
    if (group === undefined) return;
    if (stated === undefined)
      note(
        group,
        "differs",
        `The join searches metaverse objects of any type in MIM; here only ${metaverseObjectType}.`,
        criterion.place,
      );
    const resolution = childNamed(criterion, "resolution");
    if (resolution !== undefined && attributeOf(resolution, "type") === "scripted")
      ask(
        group,
        "A rules extension chooses between several matches. Write the connector's entry point resolveJoin.",
        resolution.place,
      );
    const conditions = childrenNamed(search, "attribute-mapping").flatMap((mapping) => {
      const metaverseAttribute = attributeOf(mapping, "mv-attribute") ?? "";
      const [source] = mapping.children;
      const attribute = textOf(source, "src-attribute")?.trim();
      if (source !== undefined && localName(source.name) === "direct-mapping" && attribute)
        return [{ connectorAttribute: attribute, metaverseAttribute, caseSensitive: false }];
      ask(
        group,
        `The join on "${metaverseAttribute}" computes its value (${source?.name ?? "nothing"}), which join conditions here cannot; it was left out.`,
        mapping.place,
      );
      return [];
    });
    if (conditions.length > 0) group.join.push(conditions);
  }

  readExports(connector: ExportedConnector): void {
    const name = this.#connectorName(connector.identifier);
    for (const set of childrenNamed(
      childNamed(connector.element, "export-attribute-flow"),
      "export-flow-set",
    )) {
      const connectorObjectType = attributeOf(set, "cd-object-type") ?? "";
      const metaverseObjectType = attributeOf(set, "mv-object-type") ?? "";
      for (const flow of childrenNamed(set, "export-flow")) {
        const mapping = flow.children[0];
        if (mapping === undefined) continue;
        const group = this.#group(
          "outbound",
          name,
          connectorObjectType,
          metaverseObjectType,
          mapping,
          flow.place,
        );
        if (group === undefined) continue;
        const allowsNull = attributeOf(flow, "suppress-deletions") === "false";
        this.#flow(group, flow, mapping, attributeOf(flow, "cd-attribute") ?? "", allowsNull);
      }
    }
  }

  /** The group that the element belongs to; undefined when the MIM service's own rule says it better. */
  #group(
    direction: Direction,
    connector: string,
    connectorObjectType: string,
    metaverseObjectType: string,
    element: XmlElement,
    place: Place,
  ): FlowGroup | undefined {
    const identifier = attributeOf(element, "sync-rule-id");
    if (identifier !== undefined && this.#hasPolicy) {
      this.#passedOver++;
      return undefined;
    }
    const syncRule = identifier === undefined ? null : guid(identifier);
    const key = JSON.stringify([direction, connector, connectorObjectType, metaverseObjectType, syncRule]);
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = {
        ...{ key, direction, connector, connectorObjectType, metaverseObjectType, syncRule, place },
        ...{ flows: [], join: [], findings: [], originals: [], projects: false, decided: true },
      };
      this.#groups.set(key, group);
    }
    return group;
  }

  #flow(group: FlowGroup, flow: XmlElement, mapping: XmlElement, target: string, allowsNull: boolean): void {
    const original = flowText(flow, target);
    if (original !== null) group.originals.push(original);
    const notes: FlowNotes = {
      ask: (message, place) => ask(group, message, place),
      remark: (message, place) => note(group, "remark", message, place),
    };
    if (attributeOf(mapping, "is-existence-test") === "true") {
      note(
        group,
        "differs",
        `The existence test on "${target}" has no counterpart: that an export has arrived is seen in the next import.`,
        flow.place,
      );
      return;
    }
    const initialOnly = attributeOf(mapping, "initial-flow-only") === "true";
    const source = sourceOf(mapping, target, notes);
    if (source === undefined) return;
    if (typeof source === "string") {
      group.flows.push({
        target,
        applyOnce: initialOnly,
        mergeType: "update",
        kind: "expression",
        expression: source,
      });
      return;
    }
    if ("flowRuleName" in source)
      ask(
        group,
        `A rules extension computes "${target}" (${source.flowRuleName}). Write the connector's entry point ${group.direction === "inbound" ? "mapAttributesForImport" : "mapAttributesForExport"}, or an expression.`,
        flow.place,
      );
    const made = toFlow(source, { target, initialOnly, allowsNull }, flow.place, notes);
    if (made !== undefined) group.flows.push(made);
  }

  rules(provisioning: string | null): MimRules & { readonly passedOver: number } {
    if (provisioning === "scripted" || provisioning === "both")
      this.#findings.push({
        kind: "decision",
        about: "metaverse",
        message:
          "A metaverse extension provisions objects. Say in outbound rules (linkType: provision, a flow into dn) who gets an object where, or write the metaverse extension's entry point provision.",
      });
    const order = this.#order();
    const rules = order.map((group, index) => this.#rule(group, 100 + index));
    return { rules, findings: this.#findings, passedOver: this.#passedOver };
  }

  #rule(group: FlowGroup, precedence: number): SyncRule {
    const inbound = group.direction === "inbound";
    const provisions = inbound
      ? group.projects
      : group.syncRule !== null && group.flows.some(({ target, applyOnce }) => target === "dn" && applyOnce);
    if (group.syncRule !== null) {
      ask(
        group,
        "The engine's files do not say which objects the synchronisation rule is for. Import the MIM service's policy.xml with them, or write a scope.",
        group.place,
      );
    }
    const name = `${inbound ? "In from" : "Out to"} ${group.connector} - ${group.connectorObjectType} ${group.metaverseObjectType}${group.syncRule === null ? "" : ` ${group.syncRule.slice(0, 8)}`}`;
    for (const finding of group.findings) this.#findings.push({ ...finding, about: name });
    return {
      name,
      direction: group.direction,
      connector: group.connector,
      connectorObjectType: group.connectorObjectType,
      metaverseObjectType: group.metaverseObjectType,
      linkType: provisions ? "provision" : "join",
      precedence,
      enabled: group.decided,
      scope: [],
      join: group.join,
      flows: group.flows,
      origin: {
        product: "MIM engine",
        ...(group.syncRule !== null && { identifier: group.syncRule }),
        ...(group.originals.length > 0 && { flows: group.originals }),
      },
    };
  }

  /** An order of the rules that agrees with the precedence of every attribute; where there is none, it says so. */
  #order(): readonly FlowGroup[] {
    const waiting = new Map(
      [...this.#groups].map(([key, group]) => [key, { group, after: new Set<string>() }]),
    );
    for (const { keys } of this.#rankings)
      keys.forEach((key, index) => {
        const before = keys[index - 1];
        if (before !== undefined && before !== key) waiting.get(key)!.after.add(before);
      });
    const ordered: FlowGroup[] = [];
    while (waiting.size > 0) {
      // Inbound rules first; among those that are free, the order of the export.
      const free = [...waiting.values()].filter(({ after }) => [...after].every((key) => !waiting.has(key)));
      const next = (free.length > 0 ? free : [...waiting.values()]).sort(
        (a, b) => Number(a.group.direction === "outbound") - Number(b.group.direction === "outbound"),
      )[0]!.group;
      ordered.push(next);
      waiting.delete(next.key);
    }
    const position = new Map(ordered.map(({ key }, index) => [key, index]));
    for (const { attribute, keys, place } of this.#rankings) {
      const agrees = keys.every(
        (key, index) => index === 0 || position.get(keys[index - 1]!)! <= position.get(key)!,
      );
      if (!agrees)
        this.#findings.push({
          kind: "decision",
          about: attribute.split(".")[0]!,
          message: `MIM ranks the contributions to "${attribute.slice(attribute.indexOf(".") + 1)}" otherwise than those to other attributes; a rule here has one precedence for all of them. Move the flow into a rule of its own.`,
          place,
        });
    }
    return ordered;
  }
}

/** Undefined: it cannot be taken over, which the notes say. */
function sourceOf(mapping: XmlElement, target: string, notes: FlowNotes): MimSource | undefined {
  const attribute = textOf(mapping, "src-attribute")?.trim() ?? "";
  switch (localName(mapping.name)) {
    case "direct-mapping":
      return { kind: "direct", attribute };
    case "constant-mapping":
      return { kind: "constant", text: textOf(mapping, "constant-value") ?? "" };
    case "dn-part-mapping":
      return {
        kind: "expression",
        expression: `DNComponent(CRef([dn]), ${textOf(mapping, "dn-part")?.trim() || "1"})`,
      };
    case "sync-rule-mapping": {
      const value = childNamed(mapping, "sync-rule-value");
      const type = attributeOf(mapping, "mapping-type");
      if (type === "direct") return { kind: "direct", attribute };
      if (type === "constant") return { kind: "constant", text: value?.text ?? "" };
      const element = childNamed(value?.children[0], "fn");
      if (type === "expression" && element !== undefined) return { kind: "function", element };
      notes.ask(
        `The mapping into "${target}" (${type ?? "of no type"}) is not known, so the flow is missing.`,
        mapping.place,
      );
      return undefined;
    }
    case "scripted-mapping":
      return { kind: "extension", flowRuleName: textOf(mapping, "script-context")?.trim() || target };
    default:
      notes.ask(
        `The mapping <${mapping.name}> into "${target}" is not known, so the flow is missing.`,
        mapping.place,
      );
      return undefined;
  }
}

function ask(group: FlowGroup, message: string, place: Place): void {
  group.decided = false;
  note(group, "decision", message, place);
}

function note(group: FlowGroup, kind: Finding["kind"], message: string, place: Place): void {
  group.findings.push({ kind, message, place });
}
