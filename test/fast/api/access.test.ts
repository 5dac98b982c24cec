/** Every route with every role, and the ways around it. */
import { HttpRequest } from "@azure/functions";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { admit, roleOf, roles } from "../../../src/api/access.ts";
import { call, httpFunctions } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const principal = (claims: readonly (readonly [typ: string, val: string])[]) =>
  Buffer.from(JSON.stringify({ claims: claims.map(([typ, val]) => ({ typ, val })) })).toString("base64");
const as = (...names: readonly string[]) => ({
  "content-type": "application/json",
  "x-ms-client-principal": principal([
    ["preferred_username", "ann@corp.example"],
    ...names.map((name) => ["roles", `Vestibule.${name}`] as const),
  ]),
});

const functions = await httpFunctions();
const routes = functions.map(({ name, binding }) => ({
  name,
  method: String((binding.methods as string[])[0]).toUpperCase(),
  path: `/${String(binding.route).replace(/\{[^}]+\}/g, "x")}`,
}));

describe("with sign-in", () => {
  beforeEach(() => {
    vi.stubEnv("API_AUTHENTICATION", "entra");
    vi.stubEnv("WEBSITE_AUTH_ENABLED", "True");
  });
  afterEach(() => vi.unstubAllEnvs());

  test("every route has a role, and every role is of a route", () => {
    expect(Object.keys(roleOf).sort()).toEqual(functions.map(({ name }) => name).sort());
    expect(functions.length).toBeGreaterThan(20);
  });

  test.each(routes.filter(({ name }) => roleOf[name] !== "anyone"))(
    "$method $path lets in who has the role, and nobody else",
    async ({ name, method, path }) => {
      const send = async (headers: Record<string, string>) => {
        const { status, body } = await call(method, path, method === "GET" ? undefined : {}, headers);
        return [status, body?.code];
      };
      expect(await send({})).toEqual([401, "not-signed-in"]);
      expect(await send({ "x-ms-client-principal": "no base64 of JSON" })).toEqual([401, "not-signed-in"]);
      expect(await send(as())).toEqual([403, "not-allowed"]);
      expect(await send(as("Owner"))).toEqual([403, "not-allowed"]);
      const wanted = roles.indexOf(roleOf[name] as (typeof roles)[number]);
      for (const [rank, role] of roles.entries()) {
        const [status] = await send(as(role));
        if (rank < wanted) expect(status, role).toBe(403);
        else expect([401, 403, 415], role).not.toContain(status);
      }
      if (method !== "GET")
        expect(await send({ ...as("Administrator"), "content-type": "text/plain" })).toEqual([
          415,
          "bad-request",
        ]);
    },
  );

  test("health is open to probes", async () => {
    expect((await call("GET", "/health")).status).toBe(200);
  });

  test("who is signed in is who did it, whatever else the call claims", async () => {
    const headers = { ...as("Operator"), "x-ms-client-principal-name": "mallory@corp.example" };
    const { status, body } = await call("POST", "/runs", { cycle: "delta" }, headers);
    expect([status, body.startedBy]).toEqual([202, "ann@corp.example"]);
    await call("POST", `/runs/${body.id}/stop`, {}, headers);
  });

  test("an app is named by its id", async () => {
    const headers = {
      "content-type": "application/json",
      "x-ms-client-principal": principal([
        ["azp", "7d1c"],
        ["http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "Vestibule.Reader"],
      ]),
    };
    expect((await call("POST", "/runs", { cycle: "delta" }, headers)).body.detail).toMatch(
      /^app 7d1c has Reader/,
    );
  });

  test("headers are not believed while App Service does not check them", async () => {
    vi.stubEnv("WEBSITE_AUTH_ENABLED", "False");
    const { status, body } = await call("GET", "/runs", undefined, as("Administrator"));
    expect([status, body.code]).toEqual([500, "authentication-off"]);
  });
});

test("with keys the host has decided; roles play no part", async () => {
  expect((await call("GET", "/runs")).status).toBe(200);
  expect(
    functions.filter(({ name, binding }) => name !== "health" && binding.authLevel !== "function"),
  ).toEqual([]);
});

test("too many calls of one caller wait; others go on, and so does the caller after a minute", () => {
  const of = (name: string) =>
    new HttpRequest({
      method: "GET",
      url: "http://127.0.0.1/api/runs",
      headers: { "x-ms-client-principal-name": name },
    });
  const [flood, other] = [of("flood"), of("other")];
  const now = Date.now() + 3_600_000;
  const knock = (request: HttpRequest, at: number) => {
    try {
      admit("listRuns", request, {}, at);
      return 200;
    } catch (error) {
      return error;
    }
  };
  const answers = Array.from({ length: 3_001 }, () => knock(flood, now));
  expect(answers.filter((answer) => answer !== 200)).toEqual([
    expect.objectContaining({ status: 429, code: "too-many-requests", more: { retryAfterSeconds: 60 } }),
  ]);
  expect([knock(other, now), knock(flood, now + 60_000)]).toEqual([200, 200]);
});

test("answers are never kept, guessed at, framed or run, and no other origin may read them", async () => {
  for (const path of ["/runs", "/runs/none"]) {
    const { headers } = await call("GET", path, undefined, { origin: "https://evil.example" });
    expect(headers).toMatchObject({
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
    });
    expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
  }
});
