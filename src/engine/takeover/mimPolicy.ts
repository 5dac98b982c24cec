/**
 * Synchronisation rules of the MIM service: the resources of type SynchronizationRule in what Export-FIMConfig wrote
 * with ConvertFrom-FIMResource (`policy.xml`).
 */
import type { Direction, Flow, JoinGroup, SyncRule } from "../core/rules.ts";
import { type ScopeGroup, type ScopeOperator, scopeOperatorAliases, scopeOperators } from "../core/scope.ts";
import { condition, requiredText } from "./entraConnectRule.ts";
import { guid } from "./exportedRule.ts";
import type { Finding, Place } from "./findings.ts";
import { type FlowNotes, flowText, readFlow } from "./mimFlow.ts";
import { childNamed, childrenNamed, localName, readXml, textOf, type XmlElement } from "./xml.ts";

/** A resource: its type and its attributes, each with all of its values. */
export interface MimResource {
  readonly identifier: string;
  readonly objectType: string;
  readonly attributes: ReadonlyMap<string, readonly string[]>;
  readonly place: Place;
}

export interface MimNames {
  /** Our rule for the resource's name and direction. */
  rule(displayName: string, direction: Direction | "both", which: Direction): string;
  /** Our connector for the identifier of a management agent, in the engine or in the service. */
  connector(identifier: string): string | undefined;
}

export function readResources(results: XmlElement): readonly MimResource[] {
  return childrenNamed(results, "ExportObject").flatMap((exported) => {
    const resource = childNamed(exported, "ResourceManagementObject");
    if (resource === undefined) return [];
    const attributes = new Map<string, readonly string[]>();
    for (const attribute of childrenNamed(
      childNamed(resource, "ResourceManagementAttributes"),
      "ResourceManagementAttribute",
    )) {
      const values = childNamed(attribute, "Values");
      const single = textOf(attribute, "Value");
      attributes.set(
        textOf(attribute, "AttributeName")?.trim() ?? "",
        values !== undefined ? values.children.map(({ text }) => text) : single === undefined ? [] : [single],
      );
    }
    return [
      {
        identifier: withoutUrn(textOf(resource, "ObjectIdentifier") ?? ""),
        objectType: textOf(resource, "ObjectType")?.trim() ?? "",
        attributes,
        place: resource.place,
      },
    ];
  });
}

export function withoutUrn(identifier: string): string {
  return guid(identifier.trim().replace(/^urn:uuid:/i, ""));
}

export interface MimRules {
  readonly rules: readonly SyncRule[];
  readonly findings: readonly Finding[];
}

/** One rule for each direction that the resource is for. */
export function rulesOfResource(resource: MimResource, names: MimNames): MimRules {
  return new ResourceReader(resource, names).read();
}

class ResourceReader {
  readonly #resource: MimResource;
  readonly #names: MimNames;
  readonly #findings: Finding[] = [];
  #decided = true;
  #about = "";

  constructor(resource: MimResource, names: MimNames) {
    this.#resource = resource;
    this.#names = names;
  }

  read(): MimRules {
    const flowType = this.#one("FlowType") ?? "0";
    const displayName = this.#one("DisplayName")?.trim() || this.#resource.identifier;
    const directions: readonly Direction[] =
      flowType === "2" ? ["inbound", "outbound"] : flowType === "1" ? ["outbound"] : ["inbound"];
    const both = directions.length === 2 ? "both" : directions[0]!;
    const rules = directions.map((direction) => {
      this.#about = this.#names.rule(displayName, both, direction);
      this.#decided = true;
      if (!["0", "1", "2"].includes(flowType))
        this.#ask(`The flow type "${flowType}" is not known; inbound was assumed.`);
      return this.#rule(direction, displayName);
    });
    return { rules, findings: this.#findings };
  }

  #rule(direction: Direction, displayName: string): SyncRule {
    const inbound = direction === "inbound";
    const agents = [...this.#all("ConnectedSystem"), ...this.#all("ManagementAgentID")].map(withoutUrn);
    const connector = agents.map((agent) => this.#names.connector(agent)).find((name) => name !== undefined);
    if (connector === undefined)
      this.#ask(
        `The management agent ${agents.join(", ") || "of the rule"} is not in the export. Put its MA-*.XML beside, or write the connector's name.`,
      );
    const scope = this.#scope(direction);
    const flows = this.#flows(direction);
    const creates = this.#isOn(inbound ? "CreateILMObject" : "CreateConnectedSystemObject");
    const precedence = Number(this.#one("Precedence") ?? Number.NaN);
    if (!Number.isSafeInteger(precedence))
      this.#ask("The precedence is missing. 0 was written; give the rule its own.");
    if (this.#all("SynchronizationRuleParameters").length > 0)
      this.#ask(
        "A workflow fills in parameters of the rule, and there are no workflows here. Put the values into the expressions, or into parameters of metaverse.yaml.",
      );
    if (this.#all("Dependency").length > 0)
      this.#find(
        "differs",
        "The rule applies only to objects that another rule applies to; here its scope alone decides.",
      );
    if (!inbound && this.#isOn("DisconnectConnectedSystemObject"))
      this.#find(
        "remark",
        "Deprovisioning is on: an object that leaves the scope is handled as `deprovision` of the connector says.",
      );
    if (!inbound && this.#all("ExistenceTest").length > 0)
      this.#find(
        "differs",
        "The existence test has no counterpart: that an export has arrived is seen in the next import of the whole object.",
      );
    const description = this.#one("Description") ?? "";
    return {
      name: this.#about,
      ...(description !== "" && { description }),
      direction,
      connector: connector ?? "unknown",
      connectorObjectType: this.#one("ConnectedObjectType")?.trim() || "unknown",
      metaverseObjectType: this.#one("ILMObjectType")?.trim() || "unknown",
      linkType: creates ? "provision" : "join",
      precedence: Number.isSafeInteger(precedence) ? precedence : 0,
      enabled: this.#decided,
      scope,
      join: this.#join(),
      flows,
      origin: this.#origin(displayName),
    };
  }

  #scope(direction: Direction): readonly ScopeGroup[] {
    if (direction === "inbound") return this.#conditions("ConnectedSystemScope");
    if (this.#isOn("msidmOutboundIsFilterBased")) return this.#conditions("msidmOutboundScopingFilters");
    this.#ask(
      "Sets, management policy rules and workflows decide which objects the rule is for; there are none here. Write a scope.",
    );
    return [];
  }

  /** All conditions of MIM form one group. */
  #conditions(attribute: string): readonly ScopeGroup[] {
    const group = this.#all(attribute)
      .flatMap((text) => (text.trim() === "" ? [] : childrenNamed(this.#xml(text), "scope")))
      .map(condition)
      .map(({ attribute: name, operator, value }) => {
        const upper = operator.toUpperCase();
        const known = scopeOperators.find(
          (candidate) => candidate === (scopeOperatorAliases[upper] ?? upper),
        );
        if (known === undefined)
          this.#ask(`The scope's operator "${operator}" on "${name}" is not known; EQUAL was assumed.`);
        return {
          attribute: name,
          operator: known ?? ("EQUAL" as ScopeOperator),
          ...(value !== null && { value }),
        };
      });
    return group.length === 0 ? [] : [group];
  }

  #join(): readonly JoinGroup[] {
    const group = this.#all("RelationshipCriteria")
      .flatMap((text) => (text.trim() === "" ? [] : childrenNamed(this.#xml(text), "condition")))
      .map((one) => ({
        connectorAttribute: requiredText(one, "csAttribute"),
        metaverseAttribute: requiredText(one, "ilmAttribute"),
        caseSensitive: false,
      }));
    return group.length === 0 ? [] : [group];
  }

  #flows(direction: Direction): readonly Flow[] {
    const element = direction === "inbound" ? "import-flow" : "export-flow";
    const notes: FlowNotes = {
      ask: (message) => this.#ask(message),
      remark: (message) => this.#find("remark", message),
    };
    const read = (attribute: string, initialOnly: boolean) =>
      this.#all(attribute)
        .map((text) => this.#xml(text))
        .filter(({ name }) => localName(name) === element)
        .map((flow) => readFlow(flow, initialOnly, notes))
        .filter((flow) => flow !== undefined);
    return [...(direction === "outbound" ? read("InitialFlow", true) : []), ...read("PersistentFlow", false)];
  }

  /** The resource as it was, but for what holds passwords. */
  #origin(displayName: string): Readonly<Record<string, unknown>> {
    const attributes = [...this.#resource.attributes]
      .filter(([name, values]) => values.length > 0 && !serviceAttributes.has(name))
      .map(([name, values]) => {
        const kept = values
          .map((value) => this.#withoutSecret(name, value))
          .filter((value) => value !== null);
        return [name, kept.length === 1 ? kept[0] : kept] as const;
      })
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      product: "MIM",
      identifier: this.#resource.identifier,
      ...(displayName !== this.#about && { name: displayName }),
      attributes: Object.fromEntries(attributes),
    };
  }

  #withoutSecret(attribute: string, value: string): string | null {
    if (!["InitialFlow", "PersistentFlow", "ExistenceTest"].includes(attribute)) return value;
    const flow = this.#xml(value);
    return flowText(flow, textOf(flow, "dest")?.trim() ?? "") === null ? null : value;
  }

  #xml(text: string): XmlElement {
    return readXml(this.#resource.place.file, text, this.#resource.place);
  }

  #all(attribute: string): readonly string[] {
    return this.#resource.attributes.get(attribute) ?? [];
  }

  #one(attribute: string): string | undefined {
    return this.#all(attribute)[0];
  }

  #isOn(attribute: string): boolean {
    return this.#one(attribute)?.trim().toLowerCase() === "true";
  }

  #ask(message: string): void {
    this.#decided = false;
    this.#find("decision", message);
  }

  #find(kind: Finding["kind"], message: string): void {
    this.#findings.push({ kind, about: this.#about, message, place: this.#resource.place });
  }
}

/** What the MIM service notes about any resource. */
const serviceAttributes = new Set([
  ...[
    "ObjectID",
    "ObjectType",
    "CreatedTime",
    "Creator",
    "ResourceTime",
    "DeletedTime",
    "ExpirationTime",
    "Locale",
  ],
  ...["DetectedRulesList", "ExpectedRulesList", "MVObjectID"],
]);
