import { beforeEach, describe, expect, test, vi } from "vitest";
import { HealthMonitor, type Probe } from "../../../src/engine/health.ts";
import { ConnectorError } from "../../../src/engine/ports/connector.ts";
import { StoreError } from "../../../src/engine/ports/tables.ts";
import { call, engine, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

describe("GET /health", () => {
  beforeEach(() => {
    world.now += 60_000; // past what is remembered
    world.pingBus = async () => {};
    world.ping.ADMA = async () => {};
    vi.restoreAllMocks();
  });
  const health = () => call("GET", "/health");
  const checkOf = (body: { checks: { name: string }[] }, name: string) =>
    body.checks.find((check) => check.name === name);

  test("says that everything answers", async () => {
    const { status, body } = await health();
    expect([status, body.status]).toEqual([200, "healthy"]);
    expect(body.checks.map(({ name, status }: { name: string; status: string }) => [name, status])).toEqual([
      ["tables", "healthy"],
      ["queues", "healthy"],
      ["AADMA", "healthy"],
      ["ADMA", "healthy"],
      ["configuration", "healthy"],
    ]);
  });

  test("is degraded when a directory does not answer, with the connector's own message", async () => {
    const message = "AD_URL: dc1 does not answer.";
    world.ping.ADMA = () => Promise.reject(new ConnectorError("unreachable", message));
    const { status, body } = await health();
    expect([status, body.status]).toEqual([200, "degraded"]);
    expect(checkOf(body, "ADMA")).toEqual({ name: "ADMA", status: "failed", message });
    expect(checkOf(body, "AADMA")).toMatchObject({ status: "healthy" });
  });

  test("is 503 when the queues fail, and says nothing of what the library said", async () => {
    const error = Object.assign(new Error("SharedAccessKey=abc"), { code: "UnauthorizedAccess" });
    world.pingBus = () => Promise.reject(error);
    const { status, body } = await health();
    expect([status, body.status]).toEqual([503, "degraded"]);
    expect(checkOf(body, "queues")).toMatchObject({
      status: "failed",
      message: expect.stringMatching(/UnauthorizedAccess.*ServiceBus/),
    });
    expect(JSON.stringify(body)).not.toContain("abc");
  });

  test("is 503 when the tables fail", async () => {
    const message = "Table Storage does not answer (503). Check the setting Storage.";
    vi.spyOn(engine.options.tables, "get").mockRejectedValue(new StoreError("unreachable", message));
    const { status, body } = await health();
    expect(status).toBe(503);
    expect(checkOf(body, "tables")).toEqual({ name: "tables", status: "failed", message });
  });

  test("asks the directories once in ten seconds, however many ask it", async () => {
    world.pings.length = 0;
    await Promise.all([health(), health(), health()]);
    world.now += 9_999;
    await health();
    expect(world.pings.sort()).toEqual(["AADMA", "ADMA"]);
    world.now += 1;
    await health();
    expect(world.pings).toHaveLength(4);
  });
});

describe("a probe", () => {
  const monitor = (
    probe: Partial<Probe>,
    log: (message: string) => void = () => {},
    warnings: string[] = [],
  ) =>
    new HealthMonitor(
      [{ name: "one", essential: false, remedy: "Check ONE.", run: async () => {}, ...probe }],
      warnings,
      { now: () => 0, log, timeoutMs: 20, cacheMs: 0 },
    );

  test("that does not end is failed in time, and no second one is begun beside it", async () => {
    let begun = 0;
    const slow = monitor({
      run: () => {
        begun++;
        return new Promise(() => {});
      },
    });
    const failed = { name: "one", status: "failed", message: "No answer within 0.02 s. Check ONE." };
    expect((await slow.check()).checks[0]).toEqual(failed);
    expect((await slow.check()).checks[0]).toEqual(failed);
    expect(begun).toBe(1);
  });

  test("that throws at once is failed, and its error is in the log", async () => {
    const logged: string[] = [];
    const broken = monitor(
      {
        run: () => {
          throw new RangeError("inside");
        },
      },
      (message) => logged.push(message),
    );
    expect((await broken.check()).checks[0]!.message).toBe("It does not answer (RangeError). Check ONE.");
    expect(logged).toEqual(["health: one: RangeError: inside"]);
  });

  test("that fails is tried again, and recovers", async () => {
    let broken = true;
    const healing = monitor({
      essential: true,
      run: async () => {
        if (broken) throw new StoreError("unreachable", "no");
      },
    });
    expect(await healing.check()).toMatchObject({ status: "degraded", available: false });
    broken = false;
    expect(await healing.check()).toMatchObject({ status: "healthy", available: true });
  });

  test("warnings of the configuration are named by their places, and nothing is unhealthy for them", async () => {
    const places = ["1", "2", "3", "4", "5", "6"].map((line) => `config/rules/x.yaml:${line}`);
    const { status, checks } = await monitor({}, () => {}, places).check();
    expect(status).toBe("healthy");
    expect(checks[1]).toMatchObject({
      name: "configuration",
      status: "warning",
      message: expect.stringMatching(/^6 warnings, at config\/rules\/x\.yaml:1, .*:5 …\.$/),
    });
  });
});
