/**
 * Who may do what. Two ways in, by the app setting API_AUTHENTICATION:
 *
 *   keys (default)  The Functions host asks for a function key; whoever has one may do everything, and says who they
 *                   are, if they do, in `x-ms-client-principal-name`.
 *   entra           App Service authentication has checked an Entra ID token before the call arrives; its app roles
 *                   decide here, and its identity is what history and audit keep.
 *
 * https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
 */
import type { HttpRequest } from "@azure/functions";
import { Problem } from "./problem.ts";

/** Each may do what those before it may. */
export const roles = ["Reader", "Operator", "Approver", "Administrator"] as const;
export type Role = (typeof roles)[number];

/** The role that each function asks for; one that is missing here can be called by nobody. */
export const roleOf: Readonly<Record<string, Role | "anyone">> = {
  health: "anyone",
  getOpenApi: "Reader",
  listRuns: "Reader",
  getRun: "Reader",
  listConnectors: "Reader",
  getConnector: "Reader",
  searchConnectorSpace: "Reader",
  getConnectorSpaceObject: "Reader",
  getExportPlan: "Reader",
  searchMetaverse: "Reader",
  getMetaverseObject: "Reader",
  preview: "Reader",
  evaluateExpression: "Reader",
  getSchedule: "Reader",
  getRulesDiff: "Reader",
  listOrphans: "Reader",
  listHolds: "Reader",
  getMetaverseHistory: "Reader",
  listAudit: "Reader",
  holdMetaverseObject: "Operator",
  releaseMetaverseObject: "Operator",
  listRules: "Reader",
  getRule: "Reader",
  listRulesVersions: "Reader",
  startRulesDiff: "Operator",
  startRun: "Operator",
  stopRun: "Operator",
  joinObject: "Operator",
  disconnectObject: "Operator",
  synchronizeObject: "Operator",
  retryObject: "Operator",
  approveExportPlan: "Approver",
  acceptImport: "Approver",
  activateRules: "Approver",
  putRule: "Administrator",
  deleteRule: "Administrator",
  emptyConnectorSpace: "Administrator",
  changeSchedule: "Administrator",
};

type Environment = Readonly<Record<string, string | undefined>>;

const isEntra = (environment: Environment): boolean =>
  (environment.API_AUTHENTICATION ?? "keys").trim().toLowerCase() === "entra";

/** What the host asks of a call before it hands it over: nothing where App Service has asked already. */
export const authLevel = isEntra(process.env) ? "anonymous" : "function";

interface Principal {
  readonly name: string;
  readonly roles: readonly Role[];
}

/** Calls of one caller to one instance in a minute; a portal that polls needs a hundred. */
const callsPerMinute = 3_000;
const callersMax = 10_000;
let window = { from: 0, calls: new Map<string, number>() };

/**
 * @param name the function that is called
 * @throws Problem 401 without a sign-in, 403 without the role, 415 for what a foreign page in a browser could send,
 *   429 for too many calls
 */
export function admit(
  name: string,
  request: HttpRequest,
  environment: Environment = process.env,
  now = Date.now(),
): void {
  const wanted = roleOf[name];
  if (wanted === "anyone") return;
  if (isEntra(environment)) {
    const principal = principalOf(request, environment);
    const suffices = wanted !== undefined && principal.roles.some((role) => rank(role) >= rank(wanted));
    if (!suffices) {
      const has = principal.roles.length === 0 ? "no role" : principal.roles.join(", ");
      throw new Problem(
        403,
        "not-allowed",
        `${principal.name} has ${has}; this call asks for ${wanted ?? "a role that does not exist yet"}. An administrator gives it on the enterprise application of this API.`,
      );
    }
    // A form of a foreign page cannot send this type without asking first; nobody answers that question.
    const type = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
    if (request.method !== "GET" && type !== "application/json")
      throw new Problem(415, "bad-request", "Send the header content-type: application/json.");
  }
  limit(callerOf(request, environment) ?? "", now);
}

/** Who is asking: proven by Entra ID, or as the holder of a key says; undefined when nothing is said. */
export function callerOf(request: HttpRequest, environment: Environment = process.env): string | undefined {
  if (isEntra(environment)) return principalOf(request, environment).name;
  return request.headers.get("x-ms-client-principal-name") ?? undefined;
}

const rank = (role: Role): number => roles.indexOf(role);

function limit(caller: string, now: number): void {
  if (now - window.from >= 60_000 || window.calls.size >= callersMax)
    window = { from: now, calls: new Map() };
  const calls = (window.calls.get(caller) ?? 0) + 1;
  window.calls.set(caller, calls);
  if (calls <= callsPerMinute) return;
  const seconds = Math.max(1, Math.ceil((window.from + 60_000 - now) / 1000));
  throw new Problem(
    429,
    "too-many-requests",
    `More than ${callsPerMinute} calls in a minute. Wait ${seconds} s.`,
    {
      retryAfterSeconds: seconds,
    },
  );
}

const roleClaims = new Set(["roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"]);
const nameClaims = [
  "preferred_username",
  "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
  "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
  "name",
];
const appClaims = ["azp", "appid"];

/** App Service removes this header from what comes from outside, but only while its authentication is on. */
function principalOf(request: HttpRequest, environment: Environment): Principal {
  if ((environment.WEBSITE_AUTH_ENABLED ?? "").toLowerCase() !== "true") {
    throw new Problem(
      500,
      "authentication-off",
      "API_AUTHENTICATION is entra, but App Service authentication is off. Turn it on, or set API_AUTHENTICATION to keys.",
    );
  }
  const claims = claimsOf(request.headers.get("x-ms-client-principal"));
  if (claims === undefined)
    throw new Problem(
      401,
      "not-signed-in",
      "Sign in with Entra ID: send its token as Authorization: Bearer.",
    );
  const first = (types: readonly string[]) =>
    types.flatMap((type) => claims.filter(({ typ }) => typ === type)).at(0)?.val;
  const app = first(appClaims);
  const name = first(nameClaims) ?? (app === undefined ? undefined : `app ${app}`);
  return {
    name: name ?? "somebody without a name",
    roles: roles.filter((role) =>
      claims.some(({ typ, val }) => roleClaims.has(typ) && val === `Vestibule.${role}`),
    ),
  };
}

interface Claim {
  readonly typ: string;
  readonly val: string;
}

function claimsOf(header: string | null): readonly Claim[] | undefined {
  if (header === null) return undefined;
  try {
    const { claims } = JSON.parse(Buffer.from(header, "base64").toString("utf8")) as { claims?: unknown };
    if (!Array.isArray(claims)) return undefined;
    return claims.filter(
      (claim): claim is Claim => typeof claim?.typ === "string" && typeof claim.val === "string",
    );
  } catch {
    return undefined; // whoever garbles it is nobody
  }
}
