// Draws each `canvas.staff-chart` from its `data-chart`: see `config.staff.dashboard.Chart`.
document.addEventListener("DOMContentLoaded", () => {
  const charts = [...document.querySelectorAll("canvas.staff-chart")].map(drawn);
  const repaint = () => {
    for (const chart of charts) {
      chart.options = options(chart.staffPlan);
      chart.update("none");
    }
  };
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["class"] });
});

function drawn(canvas) {
  const plan = JSON.parse(canvas.dataset.chart);
  const chart = new Chart(canvas, {
    type: plan.kind,
    data: {
      labels: plan.labels,
      datasets: plan.series.map((one) => ({
        label: one.label,
        data: one.values.map((value) => (value === null ? null : Number(value))),
        backgroundColor: one.colour,
        borderColor: one.colour,
        borderWidth: plan.kind === "line" ? 2 : 0,
        maxBarThickness: 28,
        pointRadius: 2,
        spanGaps: true,
      })),
    },
    options: options(plan),
  });
  chart.staffPlan = plan;
  return chart;
}

function options(plan) {
  const isDark = document.documentElement.classList.contains("dark");
  const ink = isDark ? "#cbd5e1" : "#475569";
  const lines = isDark ? "#334155" : "#e2e8f0";
  const linkAt = ({ datasetIndex, index }) => plan.series[datasetIndex].links[index];
  return {
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "nearest", axis: "x", intersect: false },
    onClick: (_event, hit) => {
      const link = hit.map(linkAt).find(Boolean);
      if (link) window.location.assign(link);
    },
    onHover: (event, hit) => {
      event.native.target.style.cursor = hit.some(linkAt) ? "pointer" : "default";
    },
    plugins: {
      legend: { display: plan.series.length > 1, labels: { color: ink, boxWidth: 12 } },
      tooltip: {
        callbacks: {
          label: ({ dataset, formattedValue }) =>
            `${dataset.label}: ${formattedValue}${plan.unit ? ` ${plan.unit}` : ""}`,
        },
      },
    },
    scales: {
      x: { stacked: plan.stacked, grid: { display: false }, ticks: { color: ink, maxRotation: 0 } },
      y: {
        stacked: plan.stacked,
        beginAtZero: true,
        grid: { color: lines },
        ticks: { color: ink, callback: (value) => (plan.unit ? `${value} ${plan.unit}` : value) },
      },
    },
  };
}
