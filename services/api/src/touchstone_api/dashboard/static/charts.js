/* global Plotly */
import { onTestSet } from "./elements.js";

const MARKERS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    ink: read("--ink"),
    faint: read("--line"),
    muted: read("--muted"),
    arms: [1, 2, 3, 4, 5, 6].map((number) => read(`--arm-${number}`)),
  };
}

function armTrace(arm, number, rows, fitted, palette) {
  const colour = palette.arms[number % palette.arms.length];
  return {
    name: arm,
    x: rows.map((row) => row.size),
    y: rows.map((row) => 100 * row.mean),
    error_y: {
      type: "data",
      array: rows.map((row) => (row.std === null ? 0 : 100 * row.std)),
      color: colour,
      thickness: 1.5,
      width: 5,
    },
    legendgroup: arm,
    mode: fitted ? "markers" : "lines+markers",
    line: { color: colour, width: 2.5 },
    marker: { symbol: MARKERS[number % MARKERS.length], size: 9, color: colour },
    hovertemplate: `${arm.replace(/[<>&%{}]/g, "")}: %{y:.1f} % at %{x} images<extra></extra>`,
  };
}

// Where refits of the law over redrawn seeds and test images lie; a single seed has no such band.
function bandTrace(fit, colour) {
  const backwards = fit.points.toReversed();
  return {
    name: `${fit.arm}, interval`,
    legendgroup: fit.arm,
    showlegend: false,
    x: [...fit.points, ...backwards].map((point) => point.size),
    y: [...fit.points.map((point) => 100 * point.high), ...backwards.map((point) => 100 * point.low)],
    mode: "lines",
    line: { width: 0 },
    fill: "toself",
    fillcolor: `${colour}22`,
    hoverinfo: "skip",
  };
}

// The fitted law: drawn through the measured sizes, dotted where it goes beyond them.
function fitTraces(fit, number, palette) {
  const colour = palette.arms[number % palette.arms.length];
  const largest = fit.points.findLastIndex((point) => !point.forecast);
  const part = (points, name, line) => ({
    name,
    legendgroup: fit.arm,
    showlegend: false,
    x: points.map((point) => point.size),
    y: points.map((point) => 100 * point.accuracy),
    mode: "lines",
    line: { color: colour, ...line },
    hovertemplate: `${fit.arm.replace(/[<>&%{}]/g, "")}, ${name}: %{y:.1f} % at %{x} images<extra></extra>`,
  });
  return [
    ...(fit.points[0].low === null ? [] : [bandTrace(fit, colour)]),
    part(fit.points.slice(0, largest + 1), "fitted", { width: 2.5 }),
    part(fit.points.slice(largest), "forecast", { width: 1.5, dash: "dot" }),
  ];
}

function baselineTrace(row, sizes, palette) {
  return {
    name: "untouched encoder",
    x: [Math.min(...sizes), Math.max(...sizes)],
    y: [100 * row.mean, 100 * row.mean],
    mode: "lines",
    line: { color: palette.muted, width: 2, dash: "dash" },
    hovertemplate: "untouched encoder: %{y:.1f} %<extra></extra>",
  };
}

function layout(title, sizes, palette) {
  const axis = { gridcolor: palette.faint, linecolor: palette.muted, zeroline: false, tickcolor: palette.muted };
  return {
    title: { text: title, font: { size: 15 }, x: 0, xref: "paper", xanchor: "left" },
    font: { family: "system-ui, sans-serif", color: palette.ink, size: 13 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 52, r: 12, t: 40, b: 84 },
    height: 340,
    xaxis: { ...axis, type: "log", tickvals: sizes, ticktext: sizes.map(String), title: { text: "training images (log scale)", standoff: 8 } },
    yaxis: { ...axis, title: { text: "percent" } },
    legend: { orientation: "h", x: 0, y: -0.28, yanchor: "top" },
    hovermode: "closest",
  };
}

function drawOne(place, arms, summary, fits, palette) {
  const { target, metric, words, testSet } = place.dataset;
  const measured = (row) => row.target === target && row.metric === metric && row.test_set === testSet;
  const here = summary.filter(measured);
  const trained = here.filter((row) => row.size > 0);
  const sizes = [...new Set(trained.map((row) => row.size))].sort((a, b) => a - b);
  const fitOf = (arm) => fits.find((fit) => measured(fit) && fit.arm === arm);
  const traces = arms
    .map((arm, number) => armTrace(arm, number, trained.filter((row) => row.arm === arm), fitOf(arm), palette))
    .filter((trace) => trace.x.length > 0);
  arms.forEach((arm, number) => fitOf(arm) && traces.push(...fitTraces(fitOf(arm), number, palette)));
  const untouched = here.find((row) => row.size === 0);
  if (untouched) traces.push(baselineTrace(untouched, sizes, palette));
  const title = onTestSet(`${target}: ${words}`, testSet);
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", `${title} by number of training images; the numbers are in the table of results`);
  Plotly.react(place, traces, layout(title, sizes, palette), { displayModeBar: false, responsive: true });
}

export async function drawCharts(experiment) {
  const charts = document.getElementById("charts");
  const place = `/v1/experiments/${experiment}`;
  const [answer, scaling] = await Promise.all([fetch(`${place}/results`), fetch(`${place}/scaling`)]);
  if (!answer.ok) return;
  const { summary } = await answer.json();
  const { fits } = scaling.ok ? await scaling.json() : { fits: [] };
  const arms = JSON.parse(charts.dataset.arms);
  const palette = colours();
  const measured = new Set(summary.filter((row) => row.size > 0).map((row) => `${row.target} ${row.metric} ${row.test_set}`));
  const key = ({ target, metric, testSet }) => `${target} ${metric} ${testSet}`;
  const places = [...charts.children].filter((place) => measured.has(key(place.dataset)));
  // All places take their room first: a chart measures its width when it is drawn.
  for (const place of places) place.classList.add("measured");
  for (const place of places) drawOne(place, arms, summary, fits, palette);
  dark.onchange = () => drawCharts(experiment);
}
