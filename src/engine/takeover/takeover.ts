/**
 * Rules of an Entra Connect or MIM installation → our configuration, and what an administrator should know of it.
 *
 *   files ──► recognised by content ──► exported rules, connectors, metaverse ──► YAML texts
 *                                               └──► findings ──► report
 */
import type { ConfigurationFile } from "../core/configuration.ts";
import type { SyncRule } from "../core/rules.ts";
import { checkTakenOver, takenOverContext } from "./checkTakenOver.ts";
import { configurationOf, type NamedConnector } from "./configurationOf.ts";
import {
  connectorElement,
  type ExportedConnector,
  entraConnectorIdentifier,
  readConnector,
} from "./connector.ts";
import { readRuleElement } from "./entraConnectRule.ts";
import { type ExportedRule, toSyncRule } from "./exportedRule.ts";
import type { Finding, Place } from "./findings.ts";
import { type ExportedMetaverse, metaverseElement, readMetaverse } from "./metaverse.ts";
import { engineRules } from "./mimEngine.ts";
import { type MimResource, readResources, rulesOfResource } from "./mimPolicy.ts";
import { slug, UniqueNames } from "./names.ts";
import { readPolicy } from "./policyJson.ts";
import { readScript } from "./powershellRules.ts";
import { withSingleValues } from "./singleValues.ts";
import { childrenNamed, localName, readXml, type XmlElement } from "./xml.ts";

/** A file of the export: its path as messages name it, and its text. */
export interface ExportFile {
  readonly file: string;
  readonly text: string;
}

export type ExportFormat =
  | "Entra Connect server configuration"
  | "New-ADSyncRule script"
  | "Entra Connect synchronisation policy (JSON)"
  | "MIM service policy"
  | "MIM synchronisation engine";

export interface Takeover {
  readonly formats: readonly ExportFormat[];
  /** In the order of direction, precedence and name. */
  readonly rules: readonly SyncRule[];
  readonly connectors: readonly NamedConnector[];
  readonly metaverse: ExportedMetaverse | undefined;
  readonly findings: readonly Finding[];
  /** Relative to the configuration's folder, by path. */
  readonly files: readonly ConfigurationFile[];
}

export interface TakeoverOptions {
  /** Our name for a connector's identifier; such a connector is there already, so no file is written for it. */
  readonly connectors?: ReadonlyMap<string, string>;
}

/** A rule of Entra Connect, before it has a name of ours. */
interface ReadRule {
  readonly exported: ExportedRule;
  readonly place: Place;
  readonly findings: readonly Omit<Finding, "about">[];
  readonly unanswered: boolean;
}

/** @throws TakeoverError for a file that cannot be read; one that is no export is passed over with a finding */
export function takeOver(exportFiles: readonly ExportFile[], options: TakeoverOptions = {}): Takeover {
  const taker = new Taker(options);
  // By path, so that the order of a directory listing changes nothing.
  for (const file of [...exportFiles].sort((a, b) => compareTexts(a.file, b.file))) taker.read(file);
  return taker.result();
}

class Taker {
  readonly #given: ReadonlyMap<string, string>;
  readonly #formats = new Set<ExportFormat>();
  readonly #findings: Finding[] = [];
  readonly #rules: ReadRule[] = [];
  readonly #connectors: ExportedConnector[] = [];
  readonly #resources: MimResource[] = [];
  readonly #connectorNames = new Map<string, string>();
  readonly #connectorFindings: Finding[] = [];
  #metaverse: { readonly element: XmlElement; readonly file: string } | undefined;

  constructor({ connectors }: TakeoverOptions) {
    this.#given = connectors ?? new Map();
  }

  read({ file, text }: ExportFile): void {
    if (/\.psm?1$/i.test(file)) this.#script(file, text);
    else if (/\.json$/i.test(file)) this.#policy(file, text);
    else this.#xml(file, readXml(file, text));
  }

  #script(file: string, text: string): void {
    const rules = readScript(file, text);
    if (rules.length === 0) this.#passOver(file, "There is no New-ADSyncRule in the script");
    else this.#formats.add("New-ADSyncRule script");
    for (const { rule, place, questions, remarks } of rules)
      this.#rules.push({
        exported: rule,
        place,
        unanswered: questions.length > 0,
        findings: [
          ...questions.map((question) => ({ kind: "decision" as const, ...question })),
          ...remarks.map((remark) => ({ kind: "remark" as const, ...remark })),
        ],
      });
  }

  #policy(file: string, text: string): void {
    const policy = readPolicy(file, text);
    if (policy === undefined) {
      this.#passOver(file, "This JSON is no synchronisation policy");
      return;
    }
    this.#formats.add("Entra Connect synchronisation policy (JSON)");
    const place = { file, line: 1, column: 1 };
    this.#findings.push({
      kind: "decision",
      about: file,
      message: `This file names ${policy.standard.length} standard rules without their content and has no join rules. Import the folder that Get-ADSyncServerConfiguration writes instead. Standard rules: ${policy.standard.join(", ") || "none"}.`,
      place,
    });
    for (const exported of policy.custom)
      this.#rules.push({
        exported,
        place,
        unanswered: true,
        findings: [
          {
            kind: "decision",
            message:
              "The file has no join rules, and does not say how scope conditions are grouped. Complete both, and enable the rule.",
            place,
          },
        ],
      });
  }

  #xml(file: string, root: XmlElement): void {
    const connector = connectorElement(root);
    const metaverse = metaverseElement(root);
    if (localName(root.name) === "synchronizationRule") {
      this.#formats.add("Entra Connect server configuration");
      this.#rules.push({
        exported: readRuleElement(root),
        place: root.place,
        findings: [],
        unanswered: false,
      });
    } else if (connector !== undefined)
      this.#connectors.push(readConnector(connector, (finding) => this.#connectorFindings.push(finding)));
    else if (metaverse !== undefined) this.#metaverse = { element: metaverse, file };
    else if (childrenNamed(root, "ExportObject").length > 0) {
      this.#formats.add("MIM service policy");
      this.#resources.push(...readResources(root));
    } else this.#passOver(file, `The root element <${root.name}> is that of no export known here`);
  }

  #passOver(file: string, why: string): void {
    this.#findings.push({ kind: "remark", about: file, message: `${why}; the file was passed over.` });
  }

  result(): Takeover {
    const connectors = this.#nameConnectors();
    const metaverse =
      this.#metaverse &&
      readMetaverse(
        this.#metaverse.element,
        (identifier) => this.#connector(identifier),
        (finding) => this.#findings.push(finding),
      );
    const ruleNames = new UniqueNames();
    const entraRules = this.#rules.map((rule) => this.#entraRule(rule, ruleNames));
    const mimRules = this.#mimRules(ruleNames, connectors, metaverse);
    const read = [...entraRules, ...mimRules].sort(
      (a, b) =>
        Number(a.direction === "outbound") - Number(b.direction === "outbound") ||
        a.precedence - b.precedence ||
        compareTexts(a.name, b.name),
    );
    const schemas = takenOverContext(read, connectors, metaverse);
    const rules = read.map((rule) =>
      withSingleValues(rule, schemas, (finding) => this.#findings.push(finding)),
    );
    this.#tellOfJoins(mimRules);
    const { files, parameters, findings } = configurationOf(rules, connectors, metaverse, this.#given);
    this.#findings.push(
      ...findings,
      ...checkTakenOver(rules, { ...schemas, parameters }, metaverse !== undefined),
    );
    return {
      formats: [...this.#formats].sort(),
      rules,
      connectors,
      metaverse,
      findings: this.#findings,
      files,
    };
  }

  // ---- names -------------------------------------------------------------------------------------------------

  #nameConnectors(): readonly NamedConnector[] {
    const taken = new UniqueNames();
    for (const [identifier, name] of this.#given) this.#connectorNames.set(identifier, taken.take(name));
    const named = this.#connectors.map((exported) => {
      const name = this.#connectorNames.get(exported.identifier) ?? taken.take(slug(exported.name));
      this.#connectorNames.set(exported.identifier, name);
      return { name, exported };
    });
    for (const finding of this.#connectorFindings) {
      const about = named.find(({ exported }) => exported.name === finding.about)?.name ?? finding.about;
      this.#findings.push({ ...finding, about });
    }
    return named;
  }

  #connector(identifier: string): string {
    const known = this.#connectorNames.get(identifier);
    if (known !== undefined) return known;
    const name =
      identifier === entraConnectorIdentifier ? "AAD" : slug(`connector-${identifier.slice(0, 8)}`);
    this.#connectorNames.set(identifier, name);
    this.#findings.push({
      kind: "decision",
      about: name,
      message: `The export has no connector ${identifier}; its rules name it ${name}. Say which of your connectors it is: --connector ${identifier}=NAME.`,
    });
    return name;
  }

  #entraRule(read: ReadRule, names: UniqueNames): SyncRule {
    const connector = this.#connector(read.exported.connector);
    // Our names are shorter than what an export may hold.
    const rule = names.take(read.exported.name.slice(0, 150), (name, count) =>
      count === 2 ? `${name} (${connector})` : `${name} (${connector} ${count - 1})`,
    );
    const takenOver = toSyncRule(read.exported, { rule, connector }, read.place, read.unanswered);
    this.#findings.push(
      ...read.findings.map((finding) => ({ ...finding, about: rule })),
      ...takenOver.findings,
    );
    return takenOver.rule;
  }

  // ---- MIM ---------------------------------------------------------------------------------------------------

  #mimRules(
    names: UniqueNames,
    connectors: readonly NamedConnector[],
    metaverse: ExportedMetaverse | undefined,
  ): readonly SyncRule[] {
    const synchronizationRules = this.#resources.filter(
      ({ objectType }) => objectType === "SynchronizationRule",
    );
    const agents = new Map(
      this.#resources
        .filter(({ objectType }) => objectType === "ma-data")
        .map(({ identifier, attributes }) => [identifier, attributes.get("DisplayName")?.[0]?.trim() ?? ""]),
    );
    const policy = synchronizationRules.map((resource) =>
      rulesOfResource(resource, {
        rule: (name, direction, which) => names.take(direction === "both" ? `${name} (${which})` : name),
        connector: (identifier) => this.#mimConnector(identifier, agents, connectors),
      }),
    );
    const isEngine = connectors.some(({ exported }) => hasFlows(exported)) || metaverse?.provisioning != null;
    if (!isEngine) {
      if (connectors.length > 0 || metaverse !== undefined)
        this.#formats.add("Entra Connect server configuration");
      for (const { findings } of policy) this.#findings.push(...findings);
      return policy.flatMap(({ rules }) => rules);
    }
    this.#formats.add("MIM synchronisation engine");
    const engine = engineRules(
      metaverse,
      connectors.map(({ exported }) => exported),
      (identifier) => this.#connector(identifier),
      synchronizationRules.length > 0,
    );
    if (engine.passedOver > 0)
      this.#findings.push({
        kind: "remark",
        about: "MIM synchronisation engine",
        message: `${engine.passedOver} flows, joins and projections are the engine's copies of synchronisation rules; they were taken over from the MIM service's policy instead.`,
      });
    for (const { findings } of [...policy, engine]) this.#findings.push(...findings);
    return [...policy, engine].flatMap(({ rules }) => rules);
  }

  /** A rule names its management agent by the engine's identifier or by a resource of the service. */
  #mimConnector(
    identifier: string,
    agents: ReadonlyMap<string, string>,
    connectors: readonly NamedConnector[],
  ): string | undefined {
    const known = this.#connectorNames.get(identifier);
    if (known !== undefined) return known;
    const agent = agents.get(identifier);
    if (agent === undefined) return undefined;
    return connectors.find(({ exported }) => exported.name === agent)?.name ?? slug(agent);
  }

  /** MIM tries the joins of all rules; here only one rule with join conditions may be in scope for an object. */
  #tellOfJoins(mimRules: readonly SyncRule[]): void {
    const joining = Map.groupBy(
      mimRules.filter(({ direction, join }) => direction === "inbound" && join.length > 0),
      ({ connector, connectorObjectType }) => JSON.stringify([connector, connectorObjectType]),
    );
    for (const rules of joining.values())
      if (rules.length > 1)
        for (const { name } of rules)
          this.#findings.push({
            kind: "decision",
            about: name,
            message: `${rules.length} rules join objects of this type (${rules.map((rule) => rule.name).join(", ")}). MIM tries one after the other; here only one may be in scope for an object. Move the join conditions into one of them.`,
          });
  }
}

/** MIM keeps joins and flows in the connector; Entra Connect leaves these elements empty. */
function hasFlows({ element }: ExportedConnector): boolean {
  return ["join", "projection", "export-attribute-flow", "stay-disconnector"].some((name) =>
    childrenNamed(element, name).some(({ children }) => children.length > 0),
  );
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
