/**
 * What an operator configures, as the engine works with it.
 *
 * `readConfiguration.ts` makes it of the texts of the files and the settings; `configuration/loadConfiguration.ts`
 * reads those.
 */
import type { ConnectorDefinition, ObjectTypeSchema } from "../ports/connector.ts";
import type { ExportRetries } from "./exporting.ts";
import type { ConnectorExtension, MetaverseExtension, NamedExtension } from "./extension.ts";
import type { RuleSet } from "./rules.ts";
import type { ScopeGroup } from "./scope.ts";
import type { AttributeType, Value } from "./values.ts";

export type RunProfileType = "fullImport" | "fullSync" | "deltaImport" | "deltaSync" | "export";
export interface RunProfile {
  readonly name: string;
  readonly type: RunProfileType;
}

/** Null: no limit of this kind. Percent counts the connector's connected objects. */
export interface Limit {
  readonly count: number | null;
  readonly percent: number | null;
}
export interface KindLimits {
  readonly add: Limit;
  readonly update: Limit;
  readonly rename: Limit;
  readonly delete: Limit;
  readonly disable: Limit;
}
export interface Limits {
  readonly export: KindLimits;
  /** On what an import sees that others have done. */
  readonly import: KindLimits;
  /** A full import may not shrink its connector by more than this. */
  readonly shrinkPercent: number;
  /** Percentages apply from this many objects on. */
  readonly percentFrom: number;
}

/** `extension`: the connector's rules extension decides for each object. */
export type Deprovision = "disconnect" | "explicitDisconnect" | "delete" | "extension";

export interface ConnectorConfiguration extends ConnectorDefinition {
  readonly kind: string;
  /** As the schema of the connector's kind made them. */
  readonly settings: unknown;
  /** An object that meets one of the groups is a filtered disconnector. */
  readonly filter: readonly ScopeGroup[];
  /** Null: an object that is gone is deleted at once. */
  readonly retainMs: number | null;
  /** What becomes of accounts that belong to nobody, in milliseconds; absent: they are listed and left alone. */
  readonly orphans?: {
    /** From when it was found to belong to nobody. */
    readonly disableAfterMs: number;
    /** From when an import has shown it disabled; null: it stays so. */
    readonly deleteAfterMs: number | null;
  };
  readonly deprovision: Deprovision;
  readonly extension?: NamedExtension<ConnectorExtension>;
  readonly keepHandMadeDisable: boolean;
  readonly limits: Limits;
  /** `always`: no export without somebody's approval of its plan. */
  readonly approval: "overLimits" | "always";
  readonly exportRetries: ExportRetries;
  /** In lower case; no rule may flow into them, nothing shows them. */
  readonly secretAttributes: ReadonlySet<string>;
  readonly runProfiles: readonly RunProfile[];
}

export interface Cycle {
  readonly name: string;
  readonly steps: readonly {
    readonly connector: string;
    readonly profile: string;
    readonly type: RunProfileType;
  }[];
}

export interface MetaverseAttribute {
  readonly name: string;
  readonly type: AttributeType;
  readonly multiValued: boolean;
  /** Can be joined on and searched fast; every attribute of a join condition must be. */
  readonly indexed: boolean;
}
export type DeletionRule =
  /** When nothing is connected any more. */
  | { readonly kind: "lastConnector" }
  /** When no connected object is held by a rule of link type provision or stickyJoin. */
  | { readonly kind: "lastProvisioningRule" }
  /** When the object of one of these connectors goes, whatever else is connected. */
  | { readonly kind: "anyOf"; readonly connectors: readonly string[] }
  /** When nothing is connected any more, or when the rules extension says so of an object that goes. */
  | { readonly kind: "extension" };
export interface MetaverseObjectType {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, MetaverseAttribute>;
  readonly deletionRule: DeletionRule;
}
export type MetaverseSchema = ReadonlyMap<string, MetaverseObjectType>;

/** What the pure steps need to know. A `Configuration` is one. */
export interface SyncConfiguration {
  readonly connectors: ReadonlyMap<
    string,
    Pick<
      ConnectorConfiguration,
      "name" | "filter" | "retainMs" | "orphans" | "deprovision" | "keepHandMadeDisable" | "extension"
    >
  >;
  readonly metaverseExtension?: NamedExtension<MetaverseExtension>;
  readonly metaverse: MetaverseSchema;
  readonly rules: RuleSet;
  /** By connector; a connector that has not been reached yet is missing. */
  readonly schemas: ReadonlyMap<string, readonly ObjectTypeSchema[]>;
  /** `%Name%` in rules. */
  readonly parameters: ReadonlyMap<string, Value>;
}

/** One file of the configuration: its path as messages name it (`config/rules/x.yaml`), and its text. */
export interface ConfigurationFile {
  readonly file: string;
  readonly text: string;
}

export interface Configuration extends SyncConfiguration {
  readonly connectors: ReadonlyMap<string, ConnectorConfiguration>;
  readonly cycles: ReadonlyMap<string, Cycle>;
  /** Which rules these are, and what they were compiled with (`core/ruleVersions.ts`). */
  readonly rulesVersion: string;
  readonly ruleTexts: readonly ConfigurationFile[];
  /** What the rules extensions are made of; a change of theirs is a change of the rules. */
  readonly extensionTexts: readonly ConfigurationFile[];
  readonly warnings: readonly ConfigurationProblem[];
}

export interface ConfigurationProblem {
  readonly file: string;
  /** From 1; 0 for what has no place in a file: an app setting, a missing folder. */
  readonly line: number;
  readonly column: number;
  /** In UTF-16 units from there; may end on a later line. */
  readonly length?: number;
  /** Of a problem of a rule. */
  readonly code?: string;
  readonly message: string;
  readonly remedy: string;
  /** The app setting that has to be mended, wherever the files refer to it. */
  readonly setting?: string;
}

/** The schema of one connector kind's settings; zod's schemas fit. */
export interface SettingsSchema {
  /**
   * Attributes that the kind's directories take and never show (passwords), in lower case: known without asking one, so
   * that a rule which flows into them stops the start.
   */
  readonly secretAttributes?: ReadonlySet<string>;
  safeParse(settings: unknown):
    | { readonly success: true; readonly data: unknown }
    | {
        readonly success: false;
        readonly error: {
          readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[];
        };
      };
}

/** A module of `config/extensions`, or why there is none. Its exports are whatever it exports. */
export type LoadedModule =
  | { readonly ok: true; readonly exports: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly message: string; readonly remedy: string };

export interface ExtensionModules {
  /** @param file as the configuration names it: `guests.ts` */
  load(file: string): LoadedModule;
  /** The sources of all of them, for the version of the rules. */
  readonly texts: readonly ConfigurationFile[];
}

/**
 * All that is wrong with a configuration, one line each: `config/rules/x.yaml:12:5 what is wrong. Remedy.`, or
 * `app settings: Storage is missing. Remedy.`
 */
export class ConfigurationError extends Error {
  readonly problems: readonly ConfigurationProblem[];
  /** What else is worth a look. */
  readonly warnings: readonly ConfigurationProblem[];

  constructor(problems: readonly ConfigurationProblem[], warnings: readonly ConfigurationProblem[] = []) {
    super(problems.map(describeProblem).join("\n"));
    this.name = "ConfigurationError";
    this.problems = problems;
    this.warnings = warnings;
  }
}

export function describeProblem({ file, line, column, message, remedy }: ConfigurationProblem): string {
  const place = line === 0 ? `${file}:` : `${file}:${line}:${column}`;
  return `${place} ${message}${remedy === "" ? "" : ` ${remedy}`}`;
}

/** The configuration with what the directories said of their schemas, by connector. */
export function withSchemas(
  configuration: Configuration,
  schemas: ReadonlyMap<string, readonly ObjectTypeSchema[]>,
): Configuration {
  return { ...configuration, schemas };
}
