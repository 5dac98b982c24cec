/**
 * What a rules extension may implement: a TypeScript module in `config/extensions` that decides where declarative
 * rules end. The names are those of MIM's `IMASynchronization` and `IMVSynchronization`; docs/extensions.md tells
 * when each entry point is called.
 *
 * Values in, a decision out: entry points are synchronous, get frozen data, and do no I/O. They are asked again at
 * every synchronisation and whenever one is repeated, and must then answer the same, so the clock and chance come as
 * input. What they throw is the error of that one object (`extension-dll-exception`); the others go on.
 */
import type { Attributes, AttributeValue, DateTime, Value } from "./values.ts";

export type { Attributes, AttributeValue, DateTime, Reference, Value } from "./values.ts";

/** One object of a connected directory. */
export interface CSEntry {
  readonly connector: string;
  readonly objectType: string;
  readonly dn: string;
  /**
   * The selected attributes that have a value. For `mapAttributesForImport` also `absence` and `absentSince`, while
   * the source does not offer the object any more.
   */
  readonly attributes: Attributes;
}

export interface MVEntry {
  readonly id: string;
  readonly objectType: string;
  readonly attributes: Attributes;
}

/** With what is connected to it, by connector; every connector of the configuration is there. */
export interface ConnectedMVEntry extends MVEntry {
  readonly connectors: Readonly<Record<string, readonly CSEntry[]>>;
}

export interface ExtensionTools {
  /** `parameters` of metaverse.yaml. */
  readonly parameters: Readonly<Record<string, Value>>;
  /** [0,1): the same sequence whenever the same entry point is called for the same object. Not for secrets. */
  random(): number;
  /** `CN=Doe, Jane` → `CN=Doe\, Jane`, fit to stand in a DN. */
  escapeDNComponent(component: string): string;
}

/** Nothing synchronises an object because time has passed, so only what is asked at each synchronisation gets it. */
export interface ExtensionContext extends ExtensionTools {
  readonly now: DateTime;
}

/**
 * What a flow gives its attribute. Null or undefined: no value, another rule may contribute one. A whole number is
 * an integer. IgnoreThisFlow is MIM's DeclineMappingException: as if the flow were not there.
 */
export type MappedValue =
  | Value
  | number
  | readonly (Value | number)[]
  | null
  | undefined
  | { readonly flow: "IgnoreThisFlow" | "AuthoritativeNull" };

/** What `connectors/*.yaml` names with `extension`: the module's export `connector`. */
export interface ConnectorExtension {
  /** The value of an inbound flow that says `extension: <flowRuleName>`. `mventry` is as it was before. */
  mapAttributesForImport?(
    flowRuleName: string,
    csentry: CSEntry,
    mventry: MVEntry,
    context: ExtensionContext,
  ): MappedValue;
  /** The value of an outbound flow that says `extension: <flowRuleName>`. A `csentry` to be created has no DN yet. */
  mapAttributesForExport?(
    flowRuleName: string,
    mventry: MVEntry,
    csentry: CSEntry,
    context: ExtensionContext,
  ): MappedValue;
  /** True: the object stays out, as if a filter of the connector held for it. */
  filterForDisconnection?(csentry: CSEntry, tools: ExtensionTools): boolean;
  /** Which of the metaverse objects that a join group has found; null: none, the next group is tried. */
  resolveJoin?(
    ruleName: string,
    csentry: CSEntry,
    candidates: readonly MVEntry[],
    tools: ExtensionTools,
  ): MVEntry | null;
  /** The metaverse object type that an object becomes which nothing was found for; null: it stays a disconnector. */
  shouldProjectToMV?(csentry: CSEntry, tools: ExtensionTools): string | null;
  /** What becomes of an account that is deprovisioned, where the connector says `deprovision: extension`. */
  deprovision?(csentry: CSEntry, context: ExtensionContext): DeprovisionAction;
}

export type DeprovisionAction = "disconnect" | "explicitDisconnect" | "delete";

/** What metaverse.yaml names with `extension`: the module's export `metaverse`. */
export interface MetaverseExtension {
  /**
   * What shall change about the accounts of the metaverse object. It is called again with its own actions carried
   * out, until it asks for nothing more; ten calls are enough, or `extension-provisioning-call-limit-reached`.
   */
  provision?(mventry: ConnectedMVEntry, context: ExtensionContext): readonly ProvisioningAction[];
  /**
   * Whether the metaverse object goes with this object that has just been disconnected from it, where its type says
   * `deletionRule: extension`. With its last connection it goes in any case.
   */
  shouldDeleteFromMV?(csentry: CSEntry, mventry: ConnectedMVEntry, context: ExtensionContext): boolean;
}

export type ProvisioningAction =
  /** A new account, where `connectors` shows none. `attributes` are initial; what a rule flows goes before them. */
  | {
      readonly kind: "connect";
      readonly connector: string;
      readonly objectType: string;
      readonly dn: string;
      readonly attributes?: Readonly<Record<string, AttributeValue | number | undefined>>;
    }
  /** Renames or moves it; nothing happens where the DN is that already. */
  | { readonly kind: "rename"; readonly connector: string; readonly dn: string }
  /** Ends it, as the connector's `deprovision` says. */
  | { readonly kind: "deprovision"; readonly connector: string };

export const connectorEntryPoints = [
  "mapAttributesForImport",
  "mapAttributesForExport",
  "filterForDisconnection",
  "resolveJoin",
  "shouldProjectToMV",
  "deprovision",
] as const satisfies readonly (keyof ConnectorExtension)[];
export const metaverseEntryPoints = [
  "provision",
  "shouldDeleteFromMV",
] as const satisfies readonly (keyof MetaverseExtension)[];

/** One that the configuration names, and has checked. */
export interface NamedExtension<EntryPoints> {
  /** As the configuration names it: `guests.ts`. */
  readonly file: string;
  readonly entryPoints: EntryPoints;
}
