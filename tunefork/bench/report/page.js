"use strict";
// The report's behaviour: charts in the page's colours, the theme button, the table of records with its search and order.

// The table's rows from its columns, and the charts' points from the rows (page.py's columns, charts.py's scatter).
function whole(data) {
  const columns = data.columns.map((one) => one.of ? one.at.map((i) => one.of[i]) : one);
  data.rows = columns[0].map((_, i) => columns.map((one) => one[i]));
  const text = (row) => `CONC ${row[9]}, ${row[4]} GPU${row[4] > 1 ? "s" : ""}<br>${plain(row[0])}`;
  for (const figure of data.figures) for (const trace of figure.data) if (trace.rows) {
    const rows = trace.rows.map((i) => data.rows[i]);
    Object.assign(trace, { x: rows.map((row) => figure.x === "e2e_s" ? row[12] / 1000 : row[11]), y: rows.map((row) => row[10]), text: rows.map(text) });
  }
  return data;
}
// As charts.py's plain: plotly's strings are a kind of HTML, and %{...} stands for values.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%{", "%\u200b{");
}
(async () => {
  const stored = (name) => unpacked(document.getElementById(name).textContent);
  const data = whole(JSON.parse(await stored("data"))), plotly = document.createElement("script");
  plotly.textContent = await stored("plotly");
  document.head.append(plotly);
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  function layout(figure) {
    const text = dark() ? "#e6edf3" : "#1b1f24", grid = dark() ? "#30363d" : "#d0d7de", narrow = innerWidth < 600;
    const axis = (own) => Object.assign({ gridcolor: grid, zerolinecolor: text, linecolor: grid, fixedrange: narrow }, own);
    return Object.assign({}, figure.layout, {
      height: figure.height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, size: narrow ? 10 : 13, family: "system-ui, sans-serif" },
      margin: { l: narrow ? 44 : 56, r: 12, t: 12, b: 48 }, legend: { orientation: "h", y: narrow ? -0.2 : -0.25, yref: "paper", x: 0 },
      xaxis: axis(figure.layout.xaxis), yaxis: axis(figure.layout.yaxis), hoverlabel: { align: "left" },
    });
  }
  function draw() {
    data.figures.forEach((figure, number) => Plotly.react(`chart-${number}`, figure.data, layout(figure),
      { responsive: true, displaylogo: false, displayModeBar: false }));
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; draw(); });

  const body = document.querySelector("#records tbody"), search = document.getElementById("search"), count = document.getElementById("count");
  const SHOWN = 200;
  let order = { column: null, up: true }, limit = SHOWN;
  const haystacks = data.rows.map((row) => row.join(" ").toLowerCase());

  function matching() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = data.rows.filter((_, i) => words.every((word) => haystacks[i].includes(word)));
    if (order.column === null) return found;
    const side = order.up ? 1 : -1, column = order.column;
    return found.sort((a, b) => {
      if (a[column] === null || b[column] === null) return (a[column] === null) - (b[column] === null);
      return (a[column] < b[column] ? -1 : a[column] > b[column] ? 1 : 0) * side;
    });
  }
  function cell(value) {
    const td = document.createElement("td");
    if (typeof value === "number") td.className = "n";
    td.textContent = value === null ? "-" : typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(5) : value;
    return td;
  }
  function fill() {
    const found = matching(), shown = found.slice(0, limit);
    body.replaceChildren(...shown.map((row) => { const tr = document.createElement("tr"); tr.append(...row.map(cell)); return tr; }));
    count.textContent = `${found.length} of ${data.rows.length} records` + (shown.length < found.length ? `, the first ${shown.length} shown` : "");
    document.getElementById("more").hidden = shown.length === found.length;
  }
  search.addEventListener("input", () => { limit = SHOWN; fill(); });
  document.getElementById("more").addEventListener("click", () => {
    limit = Infinity;
    fill();
    document.getElementById("region").focus();  // the button is gone, and with it the place of who pressed it
  });
  document.querySelectorAll("#records th button").forEach((button, column) => button.addEventListener("click", () => {
    order = { column, up: order.column === column ? !order.up : true };
    document.querySelectorAll("#records th").forEach((th, i) => th.setAttribute("aria-sort", i === column ? (order.up ? "ascending" : "descending") : "none"));
    fill();
  }));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && document.activeElement === search) { search.value = ""; fill(); }
  });
  fill();
})().catch((error) => { document.getElementById("count").textContent = `This browser cannot show the charts and the records: ${error}`; });
