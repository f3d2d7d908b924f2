"""The row runners of one core, kept from batch to batch."""

from model.core import ColTranCore
from model.sampling.forecast import RowForecaster, can_forecast
from model.sampling.row import RowRunner


class RowRunners:
    """The row runners of one core, created when needed: one per temperature, for one batch size.

    Runners of another batch size are dropped. The batch size changes after running out of memory,
    which the recordings of the old runners would go on holding. forecasts_agree, many_agree:
    whether forecasts, and many lanes, draw on this machine what a few lanes draw; None until that
    has been tested.
    """

    def __init__(self, core: ColTranCore) -> None:
        self.core = core
        self.forecasts_agree: bool | None = None
        self.many_agree: bool | None = None
        self._batch = 0
        self._by_temperature: dict[float, RowRunner] = {}
        self._forecasters: dict[float, RowForecaster] = {}

    def of(self, batch: int, temperature: float) -> RowRunner:
        """The runner for a batch size and temperature."""
        if batch != self._batch:
            self._by_temperature.clear()
            self._batch = batch
        if temperature not in self._by_temperature:
            self._by_temperature[temperature] = RowRunner(self.core, batch, temperature)
        return self._by_temperature[temperature]

    def forecaster(self, temperature: float) -> RowForecaster:
        """The forecaster for a temperature. Raises ValueError where `can_forecast` is false."""
        if not can_forecast(self.core):
            raise ValueError("forecasts need a CPU with oneDNN, float32, and rows of whole blocks")
        if temperature not in self._forecasters:
            self._forecasters[temperature] = RowForecaster(self.core, temperature)
        return self._forecasters[temperature]
