import threading

from fusion_rt.nodes.monitor import MonitorConfig, run

from fusion_rt.messages import Header, ImuSample


def test_it_prints_what_is_missing(bus, capsys):
    node = threading.Thread(target=run, args=(MonitorConfig(nodes=("replay",), period_s=0.05), bus))
    output = bus.publisher("prediction")
    node.start()
    assert output.wait_for_subscribers(1, 10)
    header = Header(sensor_id="imu", frame_id="imu", seq=0, stamp_ns=0)
    output.send(ImuSample(header=header, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0)))
    bus.wait(0.3)
    bus.stop()
    node.join()
    assert "0 predictions, no latency; missing: nothing" in capsys.readouterr().out
