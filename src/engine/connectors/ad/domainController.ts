import { ConnectorError } from "../../ports/connector.ts";
import { type AdClient, showDeleted } from "./adClient.ts";
import { LdapError, readFailure } from "./ldapErrors.ts";
import { firstText } from "./schema.ts";
import { guidText } from "./values.ts";

/** What a domain controller says of itself. Update sequence numbers (USNs) count its own writes. */
export interface DomainController {
  /** Identity of its database: another one has other USNs. Changes when it is restored. [MS-ADTS] 3.1.1.1.9 */
  readonly invocationId: string;
  /** DN of its NTDS settings object, to name it in messages. */
  readonly dsServiceName: string;
  readonly highestUsn: bigint;
  readonly schemaNamingContext: string;
}

/** @throws ConnectorError */
export async function readDomainController(client: AdClient): Promise<DomainController> {
  const doing = "Reading the domain controller's own description (rootDSE)";
  return refusalsAsFailures(doing, async () => {
    const root = await client.read("", ["dsServiceName", "highestCommittedUSN", "schemaNamingContext"]);
    const dsServiceName = root && firstText(root, "dsServiceName");
    const highest = root && firstText(root, "highestCommittedUSN");
    const schemaNamingContext = root && firstText(root, "schemaNamingContext");
    if (dsServiceName === undefined || highest === undefined || schemaNamingContext === undefined) {
      throw new ConnectorError(
        "configuration",
        "AD_URL does not lead to an Active Directory domain controller.",
      );
    }
    const settings = await client.read(dsServiceName, ["invocationId"]);
    const invocationId = settings?.attributes.get("invocationid")?.[0];
    if (invocationId === undefined) {
      throw new ConnectorError(
        "permission-denied",
        `The account of AD_BIND_DN cannot read invocationId of ${dsServiceName}. Every authenticated user can by default; grant it that right.`,
      );
    }
    return {
      invocationId: guidText(invocationId),
      dsServiceName,
      highestUsn: BigInt(highest),
      schemaNamingContext,
    };
  });
}

/**
 * Whether the account sees deleted objects: the right to list and read the Deleted Objects container, found by its
 * well-known GUID. Without it deletions are not an error, they are invisible.
 */
export async function seesDeletedObjects(client: AdClient, baseDn: string): Promise<boolean> {
  const container = await client.read(`<WKGUID=18E2EA80684F11D2B9AA00C04F79F805,${baseDn}>`, ["objectGUID"], {
    controls: showDeleted,
  });
  return container?.attributes.has("objectguid") === true;
}

/** @throws ConnectorError "configuration" when an OU in scope does not exist, was renamed or cannot be seen. */
export async function requireContainers(
  client: AdClient,
  baseDn: string,
  containers: readonly string[],
): Promise<void> {
  for (const container of containers) {
    const found = await refusalsAsFailures(`Reading ${container}`, () => client.read(container, []));
    if (found !== undefined) continue;
    const domain = await refusalsAsFailures(`Reading ${baseDn}`, () => client.read(baseDn, []));
    throw new ConnectorError(
      "configuration",
      domain === undefined
        ? `There is no ${baseDn} at this domain controller. AD_BASE_DN must be the DN of the domain that AD_URL serves.`
        : `There is no ${container} in the directory. It was renamed, moved or deleted, or the account of AD_BIND_DN cannot see it; set GUEST_OU to its present DN. Nothing was taken for deleted.`,
    );
  }
}

/** Turns a refused operation into the failure of the whole work. */
export async function refusalsAsFailures<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof LdapError ? readFailure(error, doing) : error;
  }
}
