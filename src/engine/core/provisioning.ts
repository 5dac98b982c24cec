/** What a rules extension wants of the accounts of one metaverse object, found by asking it until it rests. */
import {
  askProvisioning,
  type CheckedAction,
  connectedMVEntry,
  csEntry,
  ExtensionError,
  extensionName,
  mvEntry,
} from "./callExtension.ts";
import type { SyncConfiguration } from "./configuration.ts";
import type { CSEntry } from "./extension.ts";
import { type ConnectorSpaceObject, expectedImage, type MetaverseObject } from "./model.ts";
import { type DateTime, dnKey } from "./values.ts";

/** What shall happen in one connector. */
export type ProvisioningPlan =
  | (Extract<CheckedAction, { kind: "connect" }> & { readonly extension: string })
  | { readonly kind: "rename"; readonly dn: string; readonly extension: string }
  | { readonly kind: "deprovision"; readonly extension: string };

/** MIM's limit: whoever still wants something after so many calls contradicts itself. */
const callLimit = 10;

/**
 * @param connected what is connected, without what was only provisioned and never sent: that is decided anew
 * @returns by connector; nothing where nothing shall happen
 * @throws ExtensionError
 */
export function planProvisioning(
  metaverse: MetaverseObject,
  connected: readonly ConnectorSpaceObject[],
  configuration: SyncConfiguration,
  now: DateTime,
): ReadonlyMap<string, ProvisioningPlan> {
  const plans = new Map<string, ProvisioningPlan>();
  const extension = configuration.metaverseExtension;
  if (extension?.entryPoints.provision === undefined) return plans;
  const name = extensionName(extension);
  const present = new Map(connected.map((object) => [object.connector, entryOf(object)]));
  const entry = mvEntry(metaverse);
  for (let calls = 1; ; calls++) {
    const mventry = connectedMVEntry(entry, [...present.values()], configuration);
    let changed = false;
    for (const action of askProvisioning(extension, mventry, configuration, now))
      changed = carryOut(action, present, plans, name) || changed;
    if (!changed) return plans;
    if (calls === callLimit)
      throw new ExtensionError(
        "extension-provisioning-call-limit-reached",
        `provision in ${extension.file} was called ${callLimit} times for one object and still wants a change. ` +
          "Let it return nothing when connectors and DNs are as it wants them.",
        { rule: name },
      );
  }
}

/** The object as its directory will show it. */
export function entryOf(object: ConnectorSpaceObject): CSEntry {
  const image = expectedImage(object) ?? { objectType: object.objectType, dn: object.dn, attributes: {} };
  return csEntry(object.connector, image);
}

/** @returns whether it changes anything */
function carryOut(
  action: CheckedAction,
  present: Map<string, CSEntry>,
  plans: Map<string, ProvisioningPlan>,
  extension: string,
): boolean {
  const { connector } = action;
  const entry = present.get(connector);
  const plan = plans.get(connector);
  // What ends now can begin anew only in the next synchronisation.
  if (plan?.kind === "deprovision") return false;
  switch (action.kind) {
    case "connect": {
      if (entry !== undefined)
        throw contradiction(extension, `connects to ${connector}, where the metaverse object has one`);
      const { objectType, dn, attributes } = action;
      present.set(connector, csEntry(connector, { objectType, dn, attributes }));
      plans.set(connector, { ...action, extension });
      return true;
    }
    case "rename": {
      if (entry === undefined)
        throw contradiction(extension, `renames in ${connector}, where the metaverse object has none`);
      if (dnKey(entry.dn) === dnKey(action.dn)) return false;
      present.set(connector, { ...entry, dn: action.dn });
      plans.set(
        connector,
        plan?.kind === "connect" ? { ...plan, dn: action.dn } : { kind: "rename", dn: action.dn, extension },
      );
      return true;
    }
    case "deprovision":
      if (entry === undefined) return false;
      present.delete(connector);
      if (plan?.kind === "connect") plans.delete(connector);
      else plans.set(connector, { kind: "deprovision", extension });
      return true;
  }
}

function contradiction(extension: string, what: string): ExtensionError {
  return new ExtensionError(
    "extension-dll-exception",
    `provision ${what}. Look at mventry.connectors first; there is one object of each connector at most.`,
    { rule: extension },
  );
}
